package relay

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/webui"
)

func panelArchive(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(webui.Index)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// downloads are what a test serves as a panel.
type downloads struct {
	mu    sync.Mutex
	times []time.Time
	body  []byte
	err   error
	wait  time.Duration
}

func (d *downloads) get(ctx context.Context, _ string) ([]byte, error) {
	d.mu.Lock()
	d.times = append(d.times, time.Now())
	body, err, wait := d.body, d.err, d.wait
	d.mu.Unlock()
	select {
	case <-time.After(wait):
		return body, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *downloads) set(body []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.body, d.err, d.times = body, err, nil
}

// seen are the times of all downloads since the last set.
func (d *downloads) seen() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.times
}

// startPanel runs what keeps a panel, in a directory of its own; it ends with the test.
func startPanel(t *testing.T, d *downloads) (r *Relay, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "ui")
	log := slog.New(slog.DiscardHandler)
	r = &Relay{log: log, panels: newPanels(d.get, log)}
	c := config.Default()
	c.Controller.UIURL = "http://127.0.0.1/p.zip"
	r.current.Store(&Running{Config: c, panel: webui.New(dir, "")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.keepPanel(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return r, dir
}

// TestPanelRetry shows when a download that fails is tried again, and that the version before goes
// after an hour.
func TestPanelRetry(t *testing.T) {
	archives := [][]byte{panelArchive(t, "1"), panelArchive(t, "2")}
	synctest.Test(t, func(t *testing.T) {
		d := &downloads{err: errors.New("unreachable")}
		r, dir := startPanel(t, d)
		synctest.Wait()
		if len(d.seen()) != 0 {
			t.Fatal("it begins before there is a configuration")
		}
		began := time.Now()
		r.panels.wake()
		time.Sleep(5 * time.Hour)
		var at []time.Duration
		for _, when := range d.seen() {
			at = append(at, when.Sub(began).Round(time.Second)/time.Minute)
		}
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183, 243} // minutes
		if len(at) != len(want) {
			t.Fatalf("tried at %v", at)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("tried at %v", at)
			}
		}
		d.set(archives[0], nil)
		time.Sleep(2 * time.Hour)
		if len(d.seen()) != 1 {
			t.Errorf("a panel that is there was downloaded %d times", len(d.seen()))
		}
		d.set(archives[1], nil)
		if err := r.UpdatePanel(t.Context()); err != nil {
			t.Fatal(err)
		}
		old := filepath.Join(filepath.Dir(dir), ".ui.old")
		time.Sleep(59 * time.Minute)
		if _, err := os.Stat(old); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the version before is still there: %v", err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, webui.Index)); err != nil || string(b) != "2" {
			t.Error(string(b), err)
		}
	})
}

// TestPanelShared downloads once for all who ask at the same time, and again for another URL.
func TestPanelShared(t *testing.T) {
	archive := panelArchive(t, "1")
	synctest.Test(t, func(t *testing.T) {
		d := &downloads{body: archive, wait: time.Second}
		log := slog.New(slog.DiscardHandler)
		p := newPanels(d.get, log)
		site := webui.New(filepath.Join(t.TempDir(), "ui"), "")
		var all sync.WaitGroup
		ask := func(url string) {
			all.Go(func() {
				if err := p.replace(t.Context(), site, url); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		ask("a")
		ask("a")
		ask("b")
		ask("a")
		all.Wait()
		if len(d.seen()) != 2 || d.seen()[1].Sub(d.seen()[0]) < time.Second {
			t.Errorf("downloaded at %v", d.seen())
		}
		// Who stops waiting does not stop the others.
		ctx, cancel := context.WithCancel(t.Context())
		ask("c")
		all.Go(func() {
			if err := p.replace(ctx, site, "c"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		all.Wait()
	})
}
