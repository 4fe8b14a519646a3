//go:build !race

package api

import "testing"

func TestAppendJSONAllocs(t *testing.T) {
	f := func(name string, fill func(b []byte) []byte) {
		t.Helper()
		b := fill(nil)
		if n := testing.AllocsPerRun(100, func() { b = fill(b[:0]) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	p, c := sampleProxy(), sampleConnections(50)
	m := ProxyMap{Proxies: map[string]Proxy{"p": p}}
	f("Proxy", p.AppendJSON)
	f("ProxyMap", m.AppendJSON)
	f("Connections", c.AppendJSON)
	f("Traffic", (&Traffic{Up: 1}).AppendJSON)
	f("Config", (&Config{}).AppendJSON)
	// A short-lived value stays on the stack.
	f("Traffic on the stack", func(b []byte) []byte {
		v := Traffic{Up: 5}
		return v.AppendJSON(b)
	})
}
