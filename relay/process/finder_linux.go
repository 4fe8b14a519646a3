package process

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

const (
	maxSeen   = 1 << 16 // sockets whose holder is remembered
	maxAbsent = 1 << 10 // sockets that nobody was seen to hold
	maxRecent = 8       // processes that are looked into first

	// absentTime is how long a socket without a visible holder is not searched for again.
	absentTime = time.Second
)

// finder knows where sockets were seen. What it remembers is looked at again before it is used, so
// that it may be old but never wrong.
type finder struct {
	scanning chan struct{} // holds the one that reads /proc; it owns the next two fields
	recent   []int32       // the processes that were found last, the latest first
	whole    uint64        // the number of the last scan that has seen every descriptor there is
	scans    atomic.Uint64 // how many have begun

	mu     sync.Mutex
	seen   map[uint32]holder    // by inode
	absent map[uint32]time.Time // by inode, since when
}

// holder is a descriptor of a process.
type holder struct{ pid, fd int32 }

func newFinder() finder {
	return finder{
		scanning: make(chan struct{}, 1),
		seen:     make(map[uint32]holder),
		absent:   make(map[uint32]time.Time),
	}
}

func (f *finder) find(
	ctx context.Context, network flow.Network, source, local netip.AddrPort,
) (Owner, error) {
	if err := ctx.Err(); err != nil {
		return Owner{}, err
	}
	s, err := newQuery(network, source, local).ask(ctx)
	if err != nil {
		return Owner{}, err
	}
	path, err := f.path(ctx, s)
	if err != nil {
		return Owner{}, err
	}
	return Owner{UID: s.uid, Path: path}, nil
}

// path is the executable of a process that holds s, or "".
func (f *finder) path(ctx context.Context, s socket) (string, error) {
	asked := f.scans.Load()
	if path, ok := f.remembered(s.inode); ok {
		return path, nil
	}
	select {
	case f.scanning <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-f.scanning }()
	if path, ok := f.remembered(s.inode); ok { // those before us have seen it
		return path, nil
	}
	if f.whole > asked { // and if one of them began after s was there, it is not to be seen
		f.miss(s.inode)
		return "", nil
	}
	return f.scan(ctx, s)
}

// remembered is what is known without a search.
func (f *finder) remembered(inode uint32) (path string, ok bool) {
	f.mu.Lock()
	h, seen := f.seen[inode]
	since, absent := f.absent[inode]
	f.mu.Unlock()
	if seen {
		if path, ok := h.path(inode); ok {
			return path, true
		}
	}
	return "", absent && time.Since(since) < absentTime
}

// path is the executable of h, if it holds the socket still. The open directory stands for the
// process: were its number given to another one, nothing could be read there any more.
func (h holder) path(inode uint32) (path string, ok bool) {
	dir, err := openDescriptors(h.pid)
	if err != nil {
		return "", false
	}
	defer unix.Close(dir)
	if got, ok := socketAt(dir, strconv.Itoa(int(h.fd))); !ok || got != inode {
		return "", false
	}
	return executable(dir), true
}

// scan looks for s in all processes, the likely ones first, and stops where it is found.
func (f *finder) scan(ctx context.Context, s socket) (string, error) {
	n := f.scans.Add(1)
	f.makeRoom()
	if path, ok, err := f.look(ctx, f.recent, s.inode); ok || err != nil {
		return path, err
	}
	pids, err := processes(s.uid)
	if err != nil {
		return "", err
	}
	if path, ok, err := f.look(ctx, pids, s.inode); ok || err != nil {
		return path, err
	}
	if f.miss(s.inode) {
		f.whole = n
	}
	return "", nil
}

// look goes through the descriptors of pids until it finds the socket, and notes all it sees.
func (f *finder) look(ctx context.Context, pids []int32, inode uint32) (string, bool, error) {
	for _, pid := range pids {
		path, ok, err := f.lookInto(ctx, pid, inode)
		if ok {
			f.recent = slices.DeleteFunc(f.recent, func(p int32) bool { return p == pid })
			f.recent = slices.Insert(f.recent, 0, pid)
			f.recent = f.recent[:min(len(f.recent), maxRecent)]
		}
		if ok || err != nil {
			return path, ok, err
		}
	}
	return "", false, nil
}

func (f *finder) lookInto(ctx context.Context, pid int32, inode uint32) (string, bool, error) {
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	dir, err := openDescriptors(pid)
	if isShortage(err) {
		return "", false, fmt.Errorf("open descriptors of process %d: %w", pid, err)
	}
	if err != nil {
		return "", false, nil
	}
	defer unix.Close(dir)
	for names := range entries(dir) {
		if err := ctx.Err(); err != nil {
			return "", false, err
		}
		for _, name := range names {
			got, ok := socketAt(dir, name)
			if !ok {
				continue
			}
			fd, err := strconv.ParseInt(name, 10, 32)
			if err != nil {
				continue
			}
			f.note(got, holder{pid, int32(fd)})
			if got == inode {
				return executable(dir), true, nil
			}
		}
	}
	return "", false, nil
}

// makeRoom forgets all that was seen once it is too much, for most of it is closed by then.
func (f *finder) makeRoom() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) >= maxSeen {
		f.seen = make(map[uint32]holder)
	}
}

func (f *finder) note(inode uint32, h holder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) < maxSeen {
		f.seen[inode] = h
	}
}

// miss notes that nobody holds a socket, and says whether all that do hold one were noted.
func (f *finder) miss(inode uint32) (all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.absent) >= maxAbsent {
		clear(f.absent)
	}
	f.absent[inode] = time.Now()
	return len(f.seen) < maxSeen
}
