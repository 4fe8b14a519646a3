package group_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

const testURL = "http://a.test/204"

// known is what tests know, by the names of members; 0 is dead. Who is not there is alive and has not
// been measured.
type known struct {
	mu      sync.RWMutex
	delays  map[string]uint16
	changed atomic.Uint64
	asked   atomic.Int64
}

func (k *known) Result(i *outbound.Info, url string) (bool, uint16) {
	k.asked.Add(1)
	k.mu.RLock()
	defer k.mu.RUnlock()
	d, ok := k.delays[i.Name]
	switch {
	case url != testURL || !ok:
		return true, 65535
	case d == 0:
		return false, 65535
	}
	return true, d
}

func (k *known) Changed() uint64 { return k.changed.Load() }

// learn notes delays, such as "a=20 b=0", and that there was something to learn.
func (k *known) learn(t testing.TB, text string) {
	t.Helper()
	k.forget(t, text)
	k.changed.Add(1)
}

// forget is learn that nobody hears of.
func (k *known) forget(t testing.TB, text string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.delays == nil {
		k.delays = make(map[string]uint16)
	}
	for word := range strings.FieldsSeq(text) {
		name, number, _ := strings.Cut(word, "=")
		var d uint16
		for _, c := range number {
			d = d*10 + uint16(c-'0')
		}
		k.delays[name] = d
	}
}

// members makes one for each word; "a+" carries UDP.
func members(words string) (list []outbound.Outbound) {
	for w := range strings.FieldsSeq(words) {
		name, udp := strings.CutSuffix(w, "+")
		list = append(list, member(name, udp))
	}
	return list
}

func name(o outbound.Outbound) string { return o.Info().Name }

func names(list []outbound.Outbound) string {
	var all []string
	for _, o := range list {
		all = append(all, name(o))
	}
	return strings.Join(all, " ")
}

// picks are the names that g picks for n flows.
func picks(g group.Group, n int, f *flow.Flow) string {
	var all []string
	for range n {
		all = append(all, name(g.Pick(f)))
	}
	return strings.Join(all, " ")
}

// pinner is what url-test and fallback are.
type pinner interface {
	group.Group
	group.Chooser
	group.Pinner
	group.Wisher
	group.Feedback
}

var (
	_ pinner         = (*group.URLTest)(nil)
	_ pinner         = (*group.Fallback)(nil)
	_ group.Feedback = (*group.LoadBalance)(nil)
	_ group.Group    = (*group.Relay)(nil)
	_ group.Feedback = (*group.Relay)(nil)

	_ group.Successor = (*group.URLTest)(nil)

	_ group.Chooser = (*group.Select)(nil)
	_ group.Wisher  = (*group.Select)(nil)
)
