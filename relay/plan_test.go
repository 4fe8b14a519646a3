package relay

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/track"
	"github.com/switchyard-proxy/switchyard/tests/leak"
	"github.com/switchyard-proxy/switchyard/tests/port"
)

// told is a plan in a form that is easily compared, but for settings and connections.
func told(p *config.Plan) string {
	var b strings.Builder
	for _, s := range p.Sockets {
		fmt.Fprintf(&b, "%s %s %s %s", s.Owner, s.Network, s.Fate, s.Addr)
		if s.From != "" {
			fmt.Fprintf(&b, " from %s", s.From)
		}
		b.WriteByte('\n')
	}
	for _, n := range []struct {
		what string
		f    config.Fates
	}{{"nodes", p.Nodes}, {"groups", p.Groups}, {"proxies of", p.ProxyProviders}, {"rules of", p.RuleProviders}} {
		kept := slices.DeleteFunc(slices.Clone(n.f.Kept), func(name string) bool {
			return slices.ContainsFunc(builtIn, func(b struct{ name, kind string }) bool { return b.name == name })
		})
		fmt.Fprintf(&b, "%s: =%v ~%v +%v -%v\n", n.what, kept, n.f.Rebuilt, n.f.Added, n.f.Removed)
	}
	fmt.Fprintf(&b, "rules: %d>%d %v\n", p.RulesBefore, p.RulesAfter, p.CountersKept)
	return b.String()
}

// files are all files below a directory, with what they hold.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		list = append(list, fmt.Sprintf("%s %x", path, b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestPlan compares what is planned with what then happens, and with what ran before.
func TestPlan(t *testing.T) {
	leak.Check(t)
	r := newTestRelay(t)
	home := r.source.Paths.Home
	for name, text := range map[string]string{
		"list.yaml": "proxies:\n  - {name: p1, type: direct}\n  - {name: p2, type: socks5, server: 127.0.0.1, port: 1}\n",
		"sites.txt": strings.Repeat("a.test\nb.test\n", 600), // large enough to be kept compiled
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mixed, http, dns := port.Free(t), port.Free(t), port.Free(t)
	text := func(lan string, second, rules string) string {
		return fmt.Sprintf(`%s
dns: {enable: true, listen: '127.0.0.1:%d', nameserver: [127.0.0.1], enhanced-mode: fake-ip}
proxies:
  - {name: a, type: socks5, server: 127.0.0.1, port: 1}
  - {name: b, type: socks5, server: 127.0.0.1, port: %s}
proxy-providers:
  P: {type: file, path: list.yaml, interval: 100}
  I: {type: inline, payload: [{name: i, type: direct}]}
proxy-groups:
  - {name: G, type: select, proxies: [a, b], interrupt-exist-connections: close}
  - {name: U, type: url-test, use: [P], url: 'http://t.test/'}
rule-providers:
  S: {type: file, behavior: domain, format: text, path: sites.txt}
rules: [%s]
`, lan, dns, second, rules)
	}
	ports := fmt.Sprintf("mixed-port: %d\nport: %d", mixed, http)
	before := text(ports, "2", "'RULE-SET,S,G', 'MATCH,DIRECT'")
	r.serve(t, before)
	plan := func(candidate string, force bool) *config.Plan {
		t.Helper()
		was, now, revision := files(t, home), r.current.Load(), r.revision(r.current.Load())
		first, err := r.Plan("", candidate, force)
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.Plan("", candidate, force)
		if err != nil || told(first) != told(again) {
			t.Errorf("%v:\n%s\n%s", err, told(first), told(again))
		}
		if !slices.Equal(files(t, home), was) || r.current.Load() != now || r.revision(now) != revision {
			t.Error("planning has left something")
		}
		return first
	}
	f := func(candidate string, force bool, want string) {
		t.Helper()
		if got := told(plan(candidate, force)); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
	local := func(p int) string { return fmt.Sprintf("127.0.0.1:%d", p) }
	kept := fmt.Sprintf("inbounds tcp kept %s\ninbounds tcp kept %s\ninbounds udp kept %s\n", local(http), local(mixed), local(mixed))
	dnsKept := fmt.Sprintf("dns udp kept %s\ndns tcp kept %s\n", local(dns), local(dns))
	same := "nodes: =[a b] ~[] +[] -[]\ngroups: =[G U GLOBAL] ~[] +[] -[]\nproxies of: =[P I] ~[] +[] -[]\nrules of: =[S] ~[] +[] -[]\nrules: 2>2 true\n"
	f(before, false, kept+dnsKept+same)
	f(before, true, kept+dnsKept+same)
	// Without force the ports stay whatever the candidate says.
	lan := text(fmt.Sprintf("mixed-port: %d\nallow-lan: true", mixed), "2", "'RULE-SET,S,G', 'MATCH,DIRECT'")
	f(lan, false, kept+dnsKept+same)
	f(lan, true, fmt.Sprintf("inbounds tcp kept %s\ninbounds udp kept %s\ninbounds tcp opened :%d\ninbounds udp opened :%d\ninbounds tcp closed %s\n",
		local(mixed), local(mixed), mixed, mixed, local(http))+dnsKept+same) // who is on the way to loopback is not lost
	f(strings.Replace(lan, "allow-lan: true", "allow-lan: true\nbind-address: 127.0.0.2", 1), true,
		fmt.Sprintf("inbounds tcp replaced 127.0.0.2:%d from %s\ninbounds udp replaced 127.0.0.2:%d from %s\ninbounds tcp closed %s\n",
			mixed, local(mixed), mixed, local(mixed), local(http))+dnsKept+same)
	// A node changes, and with it the groups that have it; rules too.
	f(text(ports, "3", "'MATCH,G'"), false, kept+dnsKept+
		"nodes: =[a] ~[b] +[] -[]\ngroups: =[U] ~[G GLOBAL] +[] -[]\nproxies of: =[P I] ~[] +[] -[]\nrules of: =[S] ~[] +[] -[]\nrules: 2>1 false\n")
	closed := fmt.Sprintf("inbounds tcp closed %s\ninbounds udp closed %s\n", local(mixed), local(mixed))
	if alone := fmt.Sprintf("inbounds tcp closed %s\n", local(http)); http < mixed {
		closed = alone + closed
	} else {
		closed += alone
	}
	f("rules: ['MATCH,c']\nproxies: [{name: c, type: direct}]\nproxy-providers: {P: {type: file, path: list.yaml, interval: 200}}\n", true,
		closed+fmt.Sprintf("dns udp closed %s\ndns tcp closed %s\n", local(dns), local(dns))+
			"nodes: =[] ~[] +[c] -[a b]\ngroups: =[] ~[GLOBAL] +[] -[G U]\nproxies of: =[] ~[P] +[] -[I]\nrules of: =[] ~[] +[] -[S]\nrules: 2>1 false\n")
	if _, err := r.Plan("", "rules: ['MATCH,none']", false); err == nil || !strings.Contains(err.Error(), "none") {
		t.Error(err)
	}

	// What is planned is what happens.
	candidate := text(ports, "3", "'MATCH,G'")
	p := plan(candidate, false)
	old := r.current.Load()
	if err := r.Load("", candidate, false, nil); err != nil {
		t.Fatal(err)
	}
	now := r.current.Load()
	nodes, groups := now.fates(old)
	if fmt.Sprint(nodes, groups) != fmt.Sprint(p.Nodes, p.Groups) {
		t.Errorf("planned %v %v, and it is %v %v", p.Nodes, p.Groups, nodes, groups)
	}
}

// TestPlannedFlows says of flows that live what a change does to them.
func TestPlannedFlows(t *testing.T) {
	leak.Check(t)
	r := newTestRelay(t)
	mixed := port.Free(t)
	text := func(port int, a, members, more string) string {
		return fmt.Sprintf(`mixed-port: %d
proxies:
  - {name: a, type: socks5, server: 127.0.0.1, port: %s}
  - {name: b, type: direct}
proxy-providers:
  I: {type: inline, payload: [{name: a, type: direct}, {name: i, type: direct}]}
proxy-groups:
  - {name: G, type: select, proxies: [%s], interrupt-exist-connections: drain 30s}
  - {name: K, type: select, use: [I], filter: i}
rules: ['MATCH,G']
%s`, port, a, members, more)
	}
	r.serve(t, text(mixed, "1", "a, b", ""))
	local := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(mixed))
	open := func(network flow.Network, inbound, providers string, chain ...string) {
		e := &track.Entry{Flow: &flow.Flow{Network: network, Inbound: inbound, Local: local}, Chain: chain, ProviderChain: make([]string, len(chain))}
		e.ProviderChain[0] = providers
		r.Table().Open(e, func() {})
	}
	open(flow.TCP, "DEFAULT-MIXED", "", "a", "G")
	open(flow.TCP, "DEFAULT-MIXED", "", "b", "G")
	open(flow.UDP, "DEFAULT-SOCKS", "", "b")
	open(flow.TCP, "DEFAULT-MIXED", "I", "a", "K")
	open(flow.TCP, "", "", "DIRECT") // of the daemon's own
	f := func(candidate, want string) {
		t.Helper()
		p, err := r.Plan("", candidate, true)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%d through %d inbound %d", p.Flows.Total, p.Flows.Through.Count, p.Flows.Inbound.Count)
		for _, e := range p.Flows.Ended {
			got += fmt.Sprintf("; %s: %d after %v", e.Reason, e.Count, e.After)
			if len(e.IDs) != e.Count {
				t.Errorf("%+v", e)
			}
		}
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	f(text(mixed, "1", "a, b", ""), "5 through 0 inbound 0")
	f(text(mixed, "2", "a, b", ""), "5 through 2 inbound 0")            // a, which is another, and its group; the provider's a is not
	f(text(mixed, "1", "a, b", "ipv6: false"), "5 through 5 inbound 0") // all are
	f(text(mixed, "1", "a, b", "allow-lan: true"), "5 through 0 inbound 0")
	f(text(mixed, "1", "a, b", "allow-lan: true\nbind-address: 127.0.0.2"), "5 through 0 inbound 3; the UDP port that it came in by goes: 1 after 0s")
	f(text(0, "1", "a, b", ""), "5 through 0 inbound 3; the UDP port that it came in by goes: 1 after 0s")
	f(text(mixed, "1", "b", ""), `5 through 1 inbound 0; group "G" went from a to b: 1 after 30s`)
	if err := r.Select("G", "b"); err != nil {
		t.Fatal(err)
	}
	f(text(mixed, "1", "a, b", ""), "5 through 0 inbound 0") // what was chosen before is no business of the plan
	r.Table().EndAll(track.Done)
	for _, e := range r.Table().Live(nil) {
		r.Table().Remove(e, track.Done)
	}
}
