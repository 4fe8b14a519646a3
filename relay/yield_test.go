package relay

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// TestLeave: what is packed for the next process is what there is, as nothing changes after it.
func TestLeave(t *testing.T) {
	r := startRelay(t, "mode: direct\n")
	patch := func() error {
		return r.Patch(nil, func(c *config.Config) error { c.Mode = config.ModeGlobal; return nil })
	}
	no := errors.New("no")
	if err := r.Leave(func() error { return no }); !errors.Is(err, no) || r.Vitals().Phase != vitals.Serving {
		t.Errorf("%v, phase %v", err, r.Vitals().Phase)
	}
	if err := patch(); err != nil {
		t.Error(err)
	}
	changed := make(chan error, 1)
	err := r.Leave(func() error {
		if r.applying.TryLock() {
			t.Error("a change may come in between")
			r.applying.Unlock()
		}
		go func() { changed <- patch() }()
		return nil
	})
	if err != nil || r.Vitals().Phase != vitals.Stopping {
		t.Errorf("%v, phase %v", err, r.Vitals().Phase)
	}
	if err := <-changed; !errors.Is(err, errYielded) {
		t.Errorf("a change after it: %v", err)
	}
	if err := errors.Join(r.Leave(func() error { return nil }), r.Yield(func() error { return nil })); !errors.Is(err, errYielded) {
		t.Error(err)
	}
}

// TestYieldWhileEnding: a yield that fails does not make a relay that ends look as if it served.
func TestYieldWhileEnding(t *testing.T) {
	leak.Check(t)
	r := newTestRelay(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.Add(stopper{func() {}})
	giving, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		stopped <- r.Run(ctx, func() error { defer close(giving); return r.applyText("mode: direct\n") })
	}()
	<-giving
	err := r.Yield(func() error {
		cancel()
		for !r.signs.stopping.Load() { // Run sees it, and waits for us
			runtime.Gosched()
		}
		return context.Canceled
	})
	if err == nil || r.Vitals().Phase != vitals.Stopping {
		t.Errorf("%v, phase %v", err, r.Vitals().Phase)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := r.Yield(func() error { return nil }); !errors.Is(err, errEnding) {
		t.Error(err)
	}
}
