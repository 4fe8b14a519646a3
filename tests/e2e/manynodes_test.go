package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// probed is a SOCKS5 server that answers the tests of all nodes. It counts those that run, and can hold them.
type probed struct {
	*socksPeer

	mu         sync.Mutex
	gate       chan struct{} // closed: answer
	tests      map[string]int
	now, most  int
	begun, end time.Time // the first test, and the last
}

func startProbed(t *testing.T) *probed {
	t.Helper()
	p := &probed{tests: make(map[string]int)}
	p.open()
	p.socksPeer = startSocks(t, p.answer)
	t.Cleanup(p.open) // what is held still must not hold up the end
	return p
}

// hold keeps answers back until open.
func (p *probed) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

func (p *probed) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate == nil {
		p.gate = make(chan struct{})
	}
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// answer counts a test as one that runs until just before its answer, since it may be over for the daemon then.
func (p *probed) answer(c net.Conn, user, target string) {
	p.mu.Lock()
	p.now++
	p.most = max(p.most, p.now)
	p.tests[user+"@"+target]++
	p.end = time.Now()
	if p.begun.IsZero() {
		p.begun = p.end
	}
	gate := p.gate
	p.mu.Unlock()
	_, err := http.ReadRequest(bufio.NewReader(c))
	<-gate
	p.mu.Lock()
	p.now--
	p.mu.Unlock()
	if err == nil {
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	}
}

// counts are how many nodes and URLs have been tested, how often the least and the most, and how many at a time.
func (p *probed) counts() (pairs, least, most, together int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.tests {
		if most = max(most, n); least == 0 || n < least {
			least = n
		}
	}
	return len(p.tests), least, most, p.most
}

// took fails the test where it began too long ago.
func took(t *testing.T, what string, began time.Time, most time.Duration) {
	t.Helper()
	if testkit.Race {
		most *= 8
	}
	if d := time.Since(began); d > most {
		t.Errorf("%s took %v", what, d)
	}
}

// TestManyNodes has 2,000 nodes in 40 groups. No more than 16 are tested at a time, none more often than once an
// interval, and the API answers at once meanwhile.
func TestManyNodes(t *testing.T) {
	const nodes, groups, partly, budget = 2000, 40, 100, 16
	server := startProbed(t)
	var list, config strings.Builder
	names := make([]string, nodes)
	list.WriteString("proxies:\n")
	for i := range names {
		names[i] = fmt.Sprintf("n-%04d", (i*7919)%nodes) // in an order of its own
		fmt.Fprintf(&list, "- {name: %s, type: socks5, server: 127.0.0.1, port: %s, username: %[1]s, password: x}\n", names[i], server.port)
	}
	config.WriteString("mixed-port: MIXED\n" + nowhere + "proxy-providers: {many: {type: file, path: list.yaml}}\nproxy-groups:\n")
	for i := range groups {
		url, filter := "http://one.test/", ""
		if i >= groups-10 {
			url, filter = "http://two.test/", "n-19"
		}
		fmt.Fprintf(&config, "- {name: g-%02d, type: url-test, use: [many], filter: %q, url: %q, interval: 3600, timeout: 60000, lazy: false}\n", i, filter, url)
	}
	config.WriteString("rules: ['MATCH,g-00']\n")
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere)
	if err := os.WriteFile(filepath.Join(d.Home, "list.yaml"), []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	server.hold()
	began := time.Now()
	load(t, d, strings.Replace(config.String(), "mixed-port: MIXED\n", "", 1))
	took(t, "the reload", began, 2*time.Second)
	var plan api.HealthPlan
	until(t, "all tests wait or run", func() bool {
		plan = get[api.HealthPlan](t, d, "/healthchecks")
		return len(plan.Queue)+len(plan.InFlight) == nodes+partly
	})
	if plan.Most != budget || len(plan.InFlight) != budget || len(plan.Next) != nodes+partly {
		t.Errorf("%d of %d in flight, %d planned", len(plan.InFlight), plan.Most, len(plan.Next))
	}
	if !slices.IsSortedFunc(plan.InFlight, func(a, b api.HealthCheck) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%+v", plan.InFlight)
	}
	quick := func(when string) {
		t.Helper()
		for _, path := range []string{"/proxies", "/providers/proxies", "/providers/proxies/many", "/proxies/g-00", "/healthchecks", "/version"} {
			began := time.Now()
			if status, _ := d.Do(t, "GET", path, ""); status != 200 {
				t.Errorf("%s: %d", path, status)
			}
			took(t, path+" "+when, began, time.Second)
		}
	}
	quick("while all wait")
	server.open()
	until(t, "everything has been tested", func() bool {
		plan = get[api.HealthPlan](t, d, "/healthchecks")
		return len(plan.Queue)+len(plan.InFlight) == 0
	})
	f := func(pairs, times int) {
		t.Helper()
		if n, least, most, together := server.counts(); n != pairs || least != times || most != times || together != budget {
			t.Errorf("%d pairs have been tested, %d to %d times, %d at a time; want %d, %d times, %d at a time", n, least, most, together, pairs, times, budget)
		}
	}
	f(nodes+partly, 1)

	for range 2 {
		if got := nodesOf(provided(t, d, "many")); !slices.Equal(got, names) {
			t.Errorf("%d nodes are shown, or in another order: %.3q", len(got), got)
		}
		if got := shownProxy(t, d, "g-07").All; !slices.Equal(got, names) {
			t.Errorf("g-07 has %d members, or in another order: %.3q", len(got), got)
		}
	}
	all := keysOf(t, d, "/proxies", "proxies")
	if !slices.IsSorted(all) || len(all) < nodes+groups {
		t.Errorf("%d proxies, sorted %v", len(all), slices.IsSorted(all))
	}
	for _, o := range provided(t, d, "many").Proxies {
		if len(o.History) == 0 || !o.Alive || o.Extra["http://one.test/"].History[0].Delay == 0 {
			t.Fatalf("%+v", o)
		}
	}

	// A check of all that somebody asks for, while somebody else does so too.
	began = time.Now()
	raw(t, d, "GET", "/providers/proxies/many/healthcheck", 204, "")
	took(t, "the check of all", began, 5*time.Second)
	f(nodes+partly, 2)
	quick("afterwards")
	now := shownProxy(t, d, "g-00").Now
	if got, err := fetch(t, d.Mixed, "http://x.test/"); !strings.HasPrefix(fmt.Sprint(got, err), "204") {
		t.Errorf("through %s: %q, %v", now, got, err)
	}
}

// TestManyGroupsTestOnce has groups that share nodes and a URL, with intervals that are short: each node is tested
// once an interval, the shortest one of them.
func TestManyGroupsTestOnce(t *testing.T) {
	const nodes, groups = 20, 10
	server := startProbed(t)
	var list, config strings.Builder
	for i := range nodes {
		fmt.Fprintf(&list, "{name: n-%02d, type: socks5, server: 127.0.0.1, port: %s, username: n-%02[1]d, password: x}, ", i, server.port)
	}
	for i := range groups {
		fmt.Fprintf(&config, "- {name: g-%d, type: url-test, use: [list], url: 'http://one.test/', interval: %d, lazy: %v}\n", i, 1+i%3, i%2 == 1)
	}
	testkit.Start(t, nowhere+"proxy-providers: {list: {type: inline, payload: ["+list.String()+
		"], health-check: {enable: true, url: 'http://one.test/', interval: 2}}}\nproxy-groups:\n"+config.String())
	until(t, "each is tested five times", func() bool {
		pairs, least, _, _ := server.counts()
		return pairs == nodes && least >= 5
	})
	_, _, most, _ := server.counts()
	server.mu.Lock()
	lasted := server.end.Sub(server.begun)
	server.mu.Unlock()
	if n := int(lasted/time.Second) + 2; most > n {
		t.Errorf("one was tested %d times in %v", most, lasted)
	}
}
