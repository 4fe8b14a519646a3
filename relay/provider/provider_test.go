package provider

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
)

// parse makes a list of a body. Like all who parse for a source it refuses what is of no use.
func parse(b []byte) (string, error) {
	switch {
	case len(b) == 0:
		return "", errors.New("empty")
	case b[0] == '<':
		return "", errors.New("not a list")
	case string(b) == "panic":
		panic("in Parse")
	}
	return "list " + string(b), nil
}

// wantValue checks the value that is there; "" is none.
func wantValue(t *testing.T, s *Source[string], want string) {
	t.Helper()
	if v, ok := s.Value(); v != want || ok != (want != "") || s.State().Loaded != ok {
		t.Errorf("value %q, %v; want %q", v, ok, want)
	}
}

func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v; want %q", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, fetch.Replace(path, []byte(text)))
}

func TestKinds(t *testing.T) {
	if got := HTTP.String() + " " + File.String() + " " + Inline.String(); got != "HTTP File Inline" {
		t.Error(got)
	}
}

func TestInline(t *testing.T) {
	var used []string
	s := New(Config[string]{
		Name: "a", Kind: Inline, Inline: []byte("a"), Interval: time.Hour,
		Parse: parse, Use: func(v string) { used = append(used, v) },
	})
	wantValue(t, s, "")
	must(t, s.Load())
	must(t, s.Update(t.Context())) // the same, and not told again
	wantValue(t, s, "list a")
	if len(used) != 1 || used[0] != "list a" {
		t.Error(used)
	}
	if st := s.State(); st.UpdatedAt.IsZero() || !st.NextAt.IsZero() || st.Err != nil {
		t.Errorf("%+v", st)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	now := time.Now().Add(-time.Hour)
	var used []string
	s := New(Config[string]{
		Kind: File, Path: path, Interval: time.Minute,
		Parse: parse, Use: func(v string) { used = append(used, v) },
		Now: func() time.Time { return now },
	})
	wantErr(t, s.Load(), "no such file")
	wantErr(t, s.State().Err, "no such file")

	write(t, path, "a")
	written := now.Add(-time.Hour)
	must(t, os.Chtimes(path, written, written))
	must(t, s.Load())
	wantValue(t, s, "list a")
	st := s.State()
	if !st.UpdatedAt.Equal(written) || !st.NextAt.Equal(now.Add(time.Minute)) || st.Err != nil {
		t.Errorf("%+v", st)
	}
	now = now.Add(time.Second)
	must(t, s.Update(t.Context()))
	if st := s.State(); !st.UpdatedAt.Equal(now) || !st.TriedAt.Equal(now) {
		t.Errorf("%+v", st)
	}

	// What is of no use, or gone, leaves the value as it is.
	for _, text := range []string{"", "<html>", "panic"} {
		write(t, path, text)
		if s.Update(t.Context()) == nil {
			t.Errorf("%q is taken", text)
		}
		wantValue(t, s, "list a")
	}
	must(t, os.Remove(path))
	wantErr(t, s.Update(t.Context()), "no such file")
	wantValue(t, s, "list a")
	if st := s.State(); st.Err == nil || !st.NextAt.Equal(now.Add(time.Minute)) {
		t.Errorf("%+v", st)
	}
	write(t, path, "b")
	must(t, s.Update(t.Context()))
	if strings.Join(used, ", ") != "list a, list b" {
		t.Error(used)
	}
}

func TestFilesThatAreNotRead(t *testing.T) {
	dir := t.TempDir()
	f := func(path, want string) {
		t.Helper()
		wantErr(t, New(Config[string]{Kind: File, Path: path, Parse: parse}).Load(), want)
	}
	f(dir, "is not a regular file")
	if runtime.GOOS != "windows" {
		f(os.DevNull, "is not a regular file")
	}
	large := filepath.Join(dir, "large")
	write(t, large, "")
	must(t, os.Truncate(large, MaxSize+1))
	f(large, "is larger than 268435456 bytes")
}

func TestFileOfTheFuture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	write(t, path, "a")
	now := time.Now().Add(-1000 * time.Hour)
	for _, kind := range []Kind{HTTP, File} {
		s := New(Config[string]{
			Kind: kind, Path: path, Interval: time.Hour, Parse: parse,
			Now: func() time.Time { return now },
		})
		must(t, s.Load())
		if st := s.State(); !st.UpdatedAt.Equal(now) || !st.NextAt.Equal(now.Add(time.Hour)) {
			t.Errorf("%v: %+v", kind, st)
		}
	}
}

// TestPanicInUse checks that a body is new until Use has taken its value.
func TestPanicInUse(t *testing.T) {
	broken := true
	s := New(Config[string]{
		Kind: Inline, Inline: []byte("a"), Parse: parse,
		Use: func(string) {
			if broken {
				panic("in Use")
			}
		},
	})
	wantErr(t, s.Load(), "panic: in Use")
	wantErr(t, s.Update(t.Context()), "panic: in Use")
	broken = false
	must(t, s.Update(t.Context()))
	wantValue(t, s, "list a")
	if s.State().Err != nil {
		t.Error(s.State().Err)
	}
}

func TestUseMayAsk(t *testing.T) {
	var s *Source[string]
	seen := ""
	s = New(Config[string]{
		Kind: Inline, Inline: []byte("a"), Parse: parse,
		Use: func(string) { seen, _ = s.Value(); s.State() },
	})
	must(t, s.Load())
	if seen != "list a" {
		t.Errorf("%q", seen)
	}
}

// TestLog checks that news are told once.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	var log bytes.Buffer
	s := New(Config[string]{
		Name: "n", Kind: File, Path: path, Parse: parse,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				switch a.Key {
				case slog.TimeKey:
					return slog.Attr{}
				case "stack":
					return slog.String("stack", "…")
				}
				return a
			},
		})),
	})
	f := func(text, want string) {
		t.Helper()
		write(t, path, text)
		_ = s.Update(t.Context())
		if got := strings.TrimSpace(log.String()); got != want {
			t.Errorf("%q: %s; want %s", text, got, want)
		}
		log.Reset()
	}
	write(t, path, "a")
	must(t, s.Load())
	f("a", "")
	f("b", `level=INFO msg="provider \"n\" updated" provider=n error=""`)
	f("<", `level=WARN msg="provider \"n\": not a list" provider=n error="not a list"`)
	f("<", "")
	f("", `level=WARN msg="provider \"n\": empty" provider=n error=empty`)
	f("<", "")
	f("b", `level=INFO msg="provider \"n\" works again" provider=n error=""`)
	f("<", `level=WARN msg="provider \"n\": not a list" provider=n error="not a list"`)
	f("c", `level=INFO msg="provider \"n\" updated" provider=n error=""`)
	f("panic", `level=WARN msg="provider \"n\": panic: in Parse" provider=n error="panic: in Parse" stack=…`)
}
