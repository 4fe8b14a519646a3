package provider

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	quietTime = 200 * time.Millisecond // without events, until a file counts as written
	againTime = 5 * time.Second        // until a directory that was not there is looked for again
)

// Watcher sees files change. One is enough for a daemon. It watches their directories, so that
// files that are replaced, or removed and made anew, stay watched; a directory that is missing is
// looked for every few seconds. A file that is a symbolic link is seen to change when the link
// does; what is written behind it is not seen. A nil Watcher sees nothing.
type Watcher struct {
	log          *slog.Logger
	quiet, again time.Duration
	notify       *fsnotify.Watcher
	moved        chan struct{} // tells tend of files that have come and gone
	done         chan struct{}
	live         sync.WaitGroup

	mu    sync.Mutex
	files map[*file]struct{}
}

// file is one that somebody wants to see change.
type file struct {
	path  string
	timer *time.Timer // calls changed
	// dir is the directory being watched, and name the file in events of it. dir is free of
	// symbolic links, since the system knows a directory by one name only. Both are empty while
	// the directory is not watched. Watcher.mu guards them.
	dir, name string
}

// NewWatcher returns a Watcher, which Close ends. A nil log is none.
func NewWatcher(log *slog.Logger) (*Watcher, error) {
	return newWatcher(log, quietTime, againTime)
}

func newWatcher(log *slog.Logger, quiet, again time.Duration) (*Watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{
		log: log, quiet: quiet, again: again, notify: notify,
		moved: make(chan struct{}, 1),
		done:  make(chan struct{}),
		files: make(map[*file]struct{}),
	}
	w.live.Go(w.listen)
	w.live.Go(w.tend)
	return w, nil
}

// Watch calls changed, on a goroutine of its own, when the file at path has been written, replaced
// or removed, and then left alone for a moment. It also does so when its directory begins to be
// watched, since the file may have changed before. A call under way when stop is called goes on.
func (w *Watcher) Watch(path string, changed func()) (stop func()) {
	if w == nil {
		return func() {}
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	f := &file{path: path, timer: time.AfterFunc(time.Hour, changed)}
	f.timer.Stop()
	w.mu.Lock()
	w.files[f] = struct{}{}
	w.mu.Unlock()
	poke(w.moved)
	return func() {
		w.mu.Lock()
		delete(w.files, f)
		f.timer.Stop()
		w.mu.Unlock()
		poke(w.moved)
	}
}

// Close ends the watching and joins what does it. It is called once.
func (w *Watcher) Close() {
	if w == nil {
		return
	}
	close(w.done)
	_ = w.notify.Close()
	w.live.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.files {
		f.timer.Stop()
	}
}

// listen takes what the system reports. It never waits for anything else: until its reports are
// taken, the system's watcher may let nobody add or remove directories.
func (w *Watcher) listen() {
	for {
		select {
		case <-w.done:
			return
		case e := <-w.notify.Events:
			w.note(e)
		case err, ok := <-w.notify.Errors:
			if ok {
				w.log.Warn("some changes of files were not seen", "err", err)
				w.markAll()
			}
		}
	}
}

// note starts the timers of the files that an event is about.
func (w *Watcher) note(e fsnotify.Event) {
	name := filepath.Clean(e.Name)
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.files {
		switch {
		case f.dir == "":
		case name == f.name:
			f.timer.Reset(w.quiet)
		case name == f.dir && (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)):
			f.dir, f.name = "", ""
			f.timer.Reset(w.quiet)
			poke(w.moved)
		}
	}
}

func (w *Watcher) markAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.files {
		f.timer.Reset(w.quiet)
	}
}

// tend sees to it that the directories of all files are watched, and no others.
func (w *Watcher) tend() {
	said := make(map[string]bool)
	for {
		missing := false
		for _, f := range w.unplaced() {
			if err := w.place(f); err != nil {
				missing = true
				w.complain(said, err)
			}
		}
		w.prune()
		var again <-chan time.Time
		if missing {
			again = time.After(w.again)
		}
		select {
		case <-w.done:
			return
		case <-w.moved:
		case <-again:
		}
	}
}

// unplaced are the files whose directories are not watched.
func (w *Watcher) unplaced() []*file {
	w.mu.Lock()
	defer w.mu.Unlock()
	var files []*file
	for f := range w.files {
		if f.dir == "" {
			files = append(files, f)
		}
	}
	return files
}

// place begins to watch the directory of a file.
func (w *Watcher) place(f *file) error {
	dir, err := filepath.EvalSymlinks(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	// The names come first: as soon as the directory is watched it may be reported to be gone.
	w.name(f, dir, filepath.Join(dir, filepath.Base(f.path)))
	if err := w.notify.Add(dir); err != nil {
		w.name(f, "", "")
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	w.mark(f)
	return nil
}

func (w *Watcher) name(f *file, dir, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f.dir, f.name = dir, name
}

// mark starts the timer of a file that is still wanted.
func (w *Watcher) mark(f *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.files[f]; ok {
		f.timer.Reset(w.quiet)
	}
}

// complain says once each what keeps a directory from being watched, but for being missing.
func (w *Watcher) complain(said map[string]bool, err error) {
	text := err.Error()
	if said[text] || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsnotify.ErrClosed) {
		return
	}
	said[text] = true
	w.log.Warn("changes of files will not be seen", "err", err)
}

// prune ends the watching of directories that no file is in any more.
func (w *Watcher) prune() {
	for _, dir := range w.notify.WatchList() {
		if !w.wants(dir) {
			_ = w.notify.Remove(dir) // it may be gone already
		}
	}
}

func (w *Watcher) wants(dir string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.files {
		if f.dir == dir {
			return true
		}
	}
	return false
}
