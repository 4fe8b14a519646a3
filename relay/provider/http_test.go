package provider

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// memory is a Memory for as long as a test takes.
type memory map[string]string

func (m memory) Load(key string) ([]byte, bool) {
	v, ok := m[key]
	return []byte(v), ok
}

func (m memory) Save(key string, value []byte) error {
	m[key] = string(value)
	return nil
}

// site is a server with one list, and a source that has it from there.
type site struct {
	t    *testing.T
	url  string
	path string
	mem  Memory
	now  time.Time

	code       int    // what it answers; 0 is 200
	text, etag string // the list
	date       string // its Last-Modified
	asked      fetch.Validators
	parsed     int
	used       []string
	origin     string
}

func newSite(t *testing.T) *site {
	leak.Check(t)
	path := filepath.Join(t.TempDir(), "kept", "list")
	w := &site{t: t, path: path, now: time.Now().Add(-time.Hour)}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func (w *site) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.asked = fetch.Validators{
		ETag:         r.Header.Get("If-None-Match"),
		LastModified: r.Header.Get("If-Modified-Since"),
	}
	switch {
	case w.code != 0:
		rw.WriteHeader(w.code)
		return
	case w.etag != "":
		rw.Header().Set("ETag", w.etag)
	}
	if w.date != "" {
		rw.Header().Set("Last-Modified", w.date)
	}
	if w.etag != "" && w.asked.ETag == w.etag || w.date != "" && w.asked.LastModified >= w.date {
		rw.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = rw.Write([]byte(w.text))
}

// source makes a source as a start of the daemon would.
func (w *site) source() *Source[string] {
	w.t.Helper()
	s := New(Config[string]{
		Name: "list", Kind: HTTP, Path: w.path, Interval: time.Hour,
		Memory: w.mem, Origin: w.url + w.origin,
		Get: func(ctx context.Context, have fetch.Validators) (*fetch.Response, error) {
			return fetch.Get(ctx, &fetch.Request{URL: w.url + "/token", Have: have})
		},
		Parse: func(b []byte) (string, error) {
			w.parsed++
			return parse(b)
		},
		Use: func(v string) { w.used = append(w.used, v) },
		Now: func() time.Time { return w.now },
	})
	must(w.t, s.Load())
	return s
}

func (w *site) wantKept(want string) {
	w.t.Helper()
	if b, err := os.ReadFile(w.path); err != nil || string(b) != want {
		w.t.Errorf("kept %q, %v; want %q", b, err, want)
	}
}

func (w *site) wantAsked(want fetch.Validators) {
	w.t.Helper()
	if w.asked != want {
		w.t.Errorf("asked with %+v; want %+v", w.asked, want)
	}
}

func TestHTTP(t *testing.T) {
	w := newSite(t)
	s := w.source()
	wantValue(t, s, "")
	if st := s.State(); (st != State{NextAt: w.now}) {
		t.Errorf("%+v", st)
	}

	w.text, w.etag = "a", `"1"`
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	w.wantKept("a")
	wantValue(t, s, "list a")

	// Not modified: nothing is parsed, and the time moves on.
	w.now = w.now.Add(time.Minute)
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{ETag: `"1"`})
	st := s.State()
	if !st.UpdatedAt.Equal(w.now) || !st.TriedAt.Equal(w.now) || !st.NextAt.Equal(w.now.Add(time.Hour)) {
		t.Errorf("%+v", st)
	}
	if f, err := os.Stat(w.path); err != nil || !f.ModTime().Equal(w.now) {
		t.Error("the file's time is not that of the confirmation")
	}

	// The same body under another name: not parsed again, and known by its new name.
	w.now = w.now.Add(time.Minute)
	w.etag = `"2"`
	must(t, s.Update(t.Context()))
	if f, err := os.Stat(w.path); err != nil || !f.ModTime().Equal(w.now) {
		t.Error("the file's time is not that of the answer")
	}
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{ETag: `"2"`})
	if w.parsed != 1 || len(w.used) != 1 {
		t.Errorf("parsed %d times, used %v", w.parsed, w.used)
	}

	w.text, w.etag = "b", `"3"`
	must(t, s.Update(t.Context()))
	w.wantKept("b")
	wantValue(t, s, "list b")
}

func TestWhatIsOfNoUseChangesNothing(t *testing.T) {
	w := newSite(t)
	s := w.source()
	w.text, w.etag = "a", `"1"`
	must(t, s.Update(t.Context()))
	updated := s.State().UpdatedAt

	f := func(code int, text, want string) {
		t.Helper()
		w.now = w.now.Add(time.Second)
		w.code, w.text, w.etag = code, text, `"bad"`
		wantErr(t, s.Update(t.Context()), want)
		st := s.State()
		wantErr(t, st.Err, want)
		if !st.UpdatedAt.Equal(updated) || !st.TriedAt.Equal(w.now) {
			t.Errorf("%+v", st)
		}
		w.wantAsked(fetch.Validators{ETag: `"1"`})
		w.wantKept("a")
		wantValue(t, s, "list a")
	}
	f(0, "<html>Log in to your account", "not a list")
	f(0, "", "empty")
	f(0, "panic", "panic: in Parse")
	f(404, "", "404 Not Found")
	f(204, "", "204 No Content")

	w.code, w.etag = 0, `"1"`
	must(t, s.Update(t.Context()))
	if s.State().Err != nil {
		t.Error(s.State().Err)
	}
}

func TestRestartWithMemory(t *testing.T) {
	w := newSite(t)
	w.mem = memory{}
	w.text, w.etag, w.date = "a", `"1"`, "Mon, 02 Jan 2006 15:04:05 GMT"
	must(t, w.source().Update(t.Context()))
	all := fetch.Validators{ETag: w.etag, LastModified: w.date}

	s := w.source()
	wantValue(t, s, "list a")
	if st := s.State(); st.UpdatedAt.IsZero() || !st.NextAt.Equal(st.UpdatedAt.Add(time.Hour)) {
		t.Errorf("%+v", st)
	}
	must(t, s.Update(t.Context()))
	w.wantAsked(all)

	// A file that was changed or removed by hand is never confirmed, at a start or later.
	write(t, w.path, "by hand")
	s = w.source()
	wantValue(t, s, "list by hand")
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	w.wantKept("a")
	wantValue(t, s, "list a")

	write(t, w.path, "by hand")
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	w.wantKept("a")

	must(t, os.Remove(w.path))
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	w.wantKept("a")

	must(t, os.Remove(w.path))
	s = w.source()
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	must(t, s.Update(t.Context()))
	w.wantAsked(all)

	// Neither is one that came from elsewhere, or one whose record makes no sense.
	w.origin = "/other"
	s = w.source()
	wantValue(t, s, "list a")
	if st := s.State(); st.Err != nil || !st.UpdatedAt.IsZero() || !st.NextAt.Equal(w.now) {
		t.Errorf("%+v", st)
	}
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	must(t, w.source().Update(t.Context()))
	w.wantAsked(all)
	w.mem = memory{w.path: "{"}
	must(t, w.source().Update(t.Context()))
	w.wantAsked(fetch.Validators{})
}

func TestRestartWithoutMemory(t *testing.T) {
	w := newSite(t)
	w.text, w.etag = "a", `"1"`
	must(t, w.source().Update(t.Context()))
	written := time.Date(2025, 1, 2, 3, 4, 5, 678, time.UTC)
	must(t, os.Chtimes(w.path, written, written))

	s := w.source()
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{LastModified: "Thu, 02 Jan 2025 03:04:05 GMT"})
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{ETag: `"1"`})
}

// TestConfirmationTeaches checks that validators which come with a 304 are used from then on.
func TestConfirmationTeaches(t *testing.T) {
	w := newSite(t)
	write(t, w.path, "a")
	written := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, os.Chtimes(w.path, written, written))
	s := w.source()
	w.etag, w.date = `"1"`, "Thu, 02 Jan 2025 03:04:05 GMT"
	must(t, s.Update(t.Context()))
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{ETag: w.etag, LastModified: w.date})
	if w.parsed != 1 {
		t.Error("parsed again")
	}
}

func TestKeptFileOfNoUse(t *testing.T) {
	w := newSite(t)
	write(t, w.path, "<")
	s := w.source()
	wantValue(t, s, "")
	wantErr(t, s.State().Err, "kept file: not a list")
	if st := s.State(); !st.NextAt.Equal(w.now) || !st.UpdatedAt.IsZero() {
		t.Errorf("%+v", st)
	}
	w.text = "a"
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	w.wantKept("a")
}

func TestFailedWrite(t *testing.T) {
	w := newSite(t)
	write(t, filepath.Dir(w.path), "in the way of the directory")
	s := w.source()
	w.text, w.etag = "a", `"1"`
	must(t, s.Update(t.Context())) // the value is there all the same
	wantValue(t, s, "list a")
	err := s.State().Err
	wantErr(t, err, "write "+w.path)
	// It is no reason to download again before its time.
	want := State{UpdatedAt: w.now, TriedAt: w.now, NextAt: w.now.Add(time.Hour), Err: err, Loaded: true}
	if st := s.State(); st != want {
		t.Errorf("%+v", st)
	}
	must(t, os.Remove(filepath.Dir(w.path)))
	must(t, s.Update(t.Context()))
	w.wantAsked(fetch.Validators{})
	w.wantKept("a")
}

type forgetful struct{ memory }

func (forgetful) Save(string, []byte) error { return errors.New("disk full") }

func TestFailedMemory(t *testing.T) {
	w := newSite(t)
	w.mem = forgetful{}
	s := w.source()
	w.text, w.etag = "a", `"1"`
	must(t, s.Update(t.Context()))
	wantErr(t, s.State().Err, "remember: disk full")
	wantValue(t, s, "list a")
	w.wantKept("a")
}

func TestNotModifiedForNothing(t *testing.T) {
	s := New(Config[string]{
		Kind: HTTP, Path: filepath.Join(t.TempDir(), "list"), Parse: parse,
		Get: func(context.Context, fetch.Validators) (*fetch.Response, error) {
			return &fetch.Response{NotModified: true}, nil
		},
	})
	wantErr(t, s.Update(t.Context()), "nothing was at hand")
}
