package health

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

func TestCounts(t *testing.T) {
	bubble(t, Config{Most: 1}, func(t *testing.T, p *Planner) {
		good, dead, bug, slow := fast("good"), fast("dead"), fast("bug"), fast("slow")
		dead.fail, bug.bug, slow.answers = errRefused, true, []time.Duration{time.Second}
		probe := Probe{URL: testURL}
		f := func(want Counts) {
			t.Helper()
			want.Most = 1
			if got := p.Counts(); got != want {
				t.Errorf("%+v; want %+v", got, want)
			}
		}
		f(Counts{})
		p.Test(t.Context(), []outbound.Outbound{good, dead, bug}, probe, time.Minute)
		f(Counts{Passed: 1, Failed: 2, Panics: 1})
		probe.Expected, _ = ParseStatus("200")
		_, _ = p.One(t.Context(), good, probe, time.Second)
		f(Counts{Passed: 1, Unexpected: 1, Failed: 2, Panics: 1})

		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Test(t.Context(), []outbound.Outbound{slow, fast("a"), fast("b")}, Probe{URL: testURL}, time.Minute)
		}()
		synctest.Wait()
		if c := p.Counts(); c.InFlight != 1 || c.Queued != 2 {
			t.Errorf("%+v; want 1 in flight and 2 queued", c)
		}
		<-done
		f(Counts{Passed: 4, Unexpected: 1, Failed: 2, Panics: 1})
	})
}
