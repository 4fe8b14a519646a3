package relay

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/group"
)

// TestLostPinsAreForgotten by the store, but for one that there is again.
func TestLostPinsAreForgotten(t *testing.T) {
	r := newTestRelay(t)
	t.Cleanup(func() { _ = r.store.Close() })
	n := r.built(t, nil, "profile: {store-selected: true}\nproxies:\n"+
		"  - {name: a, type: socks5, server: 127.0.0.1, port: 1}\n  - {name: b, type: socks5, server: 127.0.0.1, port: 1}\n"+
		"proxy-groups:\n  - {name: F, type: fallback, proxies: [a, b], url: 'http://t.test/'}\n"+
		"  - {name: H, type: fallback, proxies: [a, b], url: 'http://t.test/'}\nrules: ['MATCH,F']\n")
	r.current.Store(n)
	stored := func(want string) {
		t.Helper()
		r.forgetPins()
		all, err := r.store.Selections()
		if got := fmt.Sprintf("F=%s H=%s", all["F"], all["H"]); err != nil || got != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	for _, name := range []string{"F", "H"} {
		if err := r.Select(name, "b"); err != nil {
			t.Fatal(err)
		}
	}
	stored("F=b H=b")
	note := func(err error) { r.book.Note(n.Outbounds["b"].Info(), "http://t.test/", time.Now(), 5, true, err) }
	note(errors.New("dead"))
	for _, name := range []string{"F", "H"} {
		if m := n.Outbounds[name].(group.Group).Pick(nil).Info().Name; m != "a" {
			t.Fatal(m)
		}
	}
	if len(r.interrupts.wake) != 1 {
		t.Error("nobody is woken to forget the pins")
	}
	note(nil)
	if err := n.Outbounds["H"].(group.Pinner).Pin("b"); err != nil {
		t.Fatal(err)
	}
	stored("F= H=b")
	stored("F= H=b")
}

// TestURLTestGoesOn where it was when a reload changes its settings: within the tolerance.
func TestURLTestGoesOn(t *testing.T) {
	r := newTestRelay(t)
	text := func(tolerance int) string {
		return fmt.Sprintf("proxies:\n  - {name: a, type: socks5, server: 127.0.0.1, port: 1}\n  - {name: b, type: socks5, server: 127.0.0.1, port: 1}\n"+
			"proxy-groups:\n  - {name: U, type: url-test, proxies: [a, b], url: 'http://t.test/', tolerance: %d}\nrules: ['MATCH,U']\n", tolerance)
	}
	n := r.built(t, nil, text(100))
	note := func(name string, delay uint16, err error) {
		r.book.Note(n.Outbounds[name].Info(), "http://t.test/", time.Now(), delay, true, err)
	}
	is := func(want string) {
		t.Helper()
		if got := n.choice("U"); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	note("a", 0, errors.New("dead"))
	note("b", 50, nil)
	is("b")
	note("a", 20, nil)
	is("b")
	old := n.Outbounds["U"]
	n = r.built(t, n, text(50))
	if n.Outbounds["U"] == old {
		t.Fatal("the group is kept")
	}
	is("b")
	n = r.built(t, n, text(10))
	is("a")
}
