//go:build !race

package health

import (
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

func TestResultAllocatesNothing(t *testing.T) {
	b, known, unknown := NewBook(), new(outbound.Info), new(outbound.Info)
	b.Note(known, "http://a.test/", time.Now(), 5, true, nil)
	if n := testing.AllocsPerRun(100, func() {
		b.Result(known, "http://a.test/")
		b.Result(known, "http://b.test/")
		b.Result(unknown, "http://a.test/")
		b.Changed()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
