package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// counted are the counts that are not 0, as text.
func counted(list []Count) string {
	var words []string
	for _, c := range list {
		if c.Count > 0 {
			words = append(words, fmt.Sprintf("%s=%d", c.Word, c.Count))
		}
	}
	return strings.Join(words, " ")
}

// TestCounts counts each flow once, by what decided and by what it came to.
func TestCounts(t *testing.T) {
	f := func(mode Mode, network flow.Network, host, matches, failures string, rejected uint64) {
		t.Helper()
		s := newSetup(t, mode, "DOMAIN,a.test,outer", "DOMAIN-SUFFIX,no.test,REJECT", "DOMAIN,far.test,far", "DOMAIN,far.test,DIRECT", "DOMAIN-KEYWORD,again,again")
		fl := to(network, host)
		if network == flow.TCP {
			_, _ = s.Open(t.Context(), fl)
		} else {
			_, _ = s.OpenPacket(t.Context(), fl)
		}
		c := s.Counts()
		if counted(c.Matches) != matches || counted(c.Failures) != failures || c.Rejected != rejected {
			t.Errorf("%s: matches %s, failures %s, %d rejected; want %s, %s, %d",
				host, counted(c.Matches), counted(c.Failures), c.Rejected, matches, failures, rejected)
		}
	}
	f(ByRule, flow.TCP, "a.test", "Domain=1", "Http=1", 0)
	f(ByRule, flow.TCP, "x.no.test", "DomainSuffix=1", "", 1)
	f(ByRule, flow.TCP, "else.test", "none=1", "Direct=1", 0)
	f(ByRule, flow.UDP, "a.test", "none=1", "Direct=1", 0) // its node carries no UDP
	f(ByRule, flow.TCP, "again.test", "", "Rematch=1", 0)  // in circles: nothing has decided
	f(Global, flow.TCP, "a.test", "", "Http=1", 0)
	f(Direct, flow.UDP, "a.test", "", "Direct=1", 0)

	s := newSetup(t, ByRule)
	s.Restore = func(*flow.Flow) error { return flow.ErrNoName }
	_, _ = s.Open(t.Context(), to(flow.TCP, "a.test"))
	if c := s.Counts(); counted(c.Matches) != "" || counted(c.Failures) != "none=1" {
		t.Errorf("%+v", c)
	}
	s = newSetup(t, ByRule, "MATCH,outer")
	if _, err := s.Explain(t.Context(), to(flow.TCP, "a.test"), flow.Process{}, true); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); counted(c.Matches) != "" { // nobody was carried
		t.Errorf("%+v", c)
	}
}
