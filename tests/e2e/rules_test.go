package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// nowhere keeps a daemon from asking the world for geo data: nobody listens there.
const nowhere = `geox-url: {geoip: "http://127.0.0.1:1/", mmdb: "http://127.0.0.1:1/", asn: "http://127.0.0.1:1/", geosite: "http://127.0.0.1:1/"}
`

// answering are nodes, each of which answers what comes through it with its own name. No request
// leaves this machine, whatever it names.
func answering(t *testing.T, names ...string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("proxies:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "- {name: %s, type: http, server: 127.0.0.1, port: %s}\n", name, upstream(t, name))
	}
	return b.String()
}

// ruleLines are rules, one a line, as a part of a configuration.
func ruleLines(key, lines string) string {
	var b strings.Builder
	b.WriteString(key + ":\n")
	for line := range strings.SplitSeq(lines, "\n") {
		fmt.Fprintf(&b, "- '%s'\n", line)
	}
	return b.String()
}

// load makes d run a configuration; its ports stay.
func load(t *testing.T, d *testkit.Daemon, yaml string) {
	t.Helper()
	b, err := json.Marshal(api.ConfigSource{Payload: yaml})
	if err != nil {
		t.Fatal(err)
	}
	if status, body := d.Do(t, "PUT", "/configs", string(b)); status != 204 {
		t.Fatalf("%d %s\n%s", status, body, yaml)
	}
}

// get reads an answer of the API.
func get[T any](t *testing.T, d *testkit.Daemon, path string) T {
	t.Helper()
	var v T
	status, body := d.Do(t, "GET", path, "")
	if err := json.Unmarshal([]byte(body), &v); err != nil || status != 200 {
		t.Fatalf("GET %s: %d %s, %v", path, status, body, err)
	}
	return v
}

// until waits until what holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("it never comes that %s", what)
		}
	}
}

// node is the node that a plain request for url takes, or why it takes none.
func node(t *testing.T, d *testkit.Daemon, url string) string {
	t.Helper()
	got, err := fetch(t, d.Mixed, url)
	if err != nil {
		return err.Error()
	}
	return got
}

// takes fails the test unless a request for host goes through a node.
func takes(t *testing.T, d *testkit.Daemon, host, want string) {
	t.Helper()
	if got := node(t, d, "http://"+host+"/"); got != want {
		t.Errorf("%s goes through %q; want %q", host, got, want)
	}
}

// becomes waits until requests for host go through a node.
func becomes(t *testing.T, d *testkit.Daemon, host, want string) {
	t.Helper()
	until(t, host+" goes through "+want, func() bool { return node(t, d, "http://"+host+"/") == want })
}

// shown is what the API shows of the flow that the client at c's own end has opened.
func shown(t *testing.T, d *testkit.Daemon, c net.Conn) api.Connection {
	t.Helper()
	port := fmt.Sprint(c.LocalAddr().(*net.TCPAddr).Port)
	for _, flow := range get[api.Connections](t, d, "/connections").Connections {
		if flow.Metadata.SourcePort == port {
			return flow
		}
	}
	t.Fatalf("no connection from port %s", port)
	return api.Connection{}
}

// TestRuleTypes sends a request by curl for each type of rule that looks at the way a flow comes in,
// and for each that looks at where it goes.
func TestRuleTypes(t *testing.T) {
	plainPort, socksPort := testkit.FreePort(t), testkit.FreePort(t)
	base := nowhere + "ipv6: false\n" + answering(t, "a", "b")
	d := testkit.Start(t, fmt.Sprintf("mixed-port: MIXED\nport: %d\nsocks-port: %d\n", plainPort, socksPort)+base)
	_, mixedPort, _ := net.SplitHostPort(d.Mixed)
	mixed, web := "http://"+d.Mixed, fmt.Sprintf("http://127.0.0.1:%d", plainPort)
	socks5, socks4 := "socks5h://"+d.Mixed, "socks4a://"+d.Mixed
	onSocks := fmt.Sprintf("socks5h://127.0.0.1:%d", socksPort)
	loaded := ""
	f := func(want, rules string, args ...string) {
		t.Helper()
		if rules != loaded {
			load(t, d, base+ruleLines("rules", rules))
			loaded = rules
		}
		if got, err := curl(t, args...); err != nil || got != want {
			t.Errorf("%s\n%v goes through %q, %v; want %q", rules, args, got, err, want)
		}
	}
	const url = "http://x.test/"
	// IN-TYPE: a plain request, a tunnel, and every kind of SOCKS.
	f("a", "IN-TYPE,HTTP,a\nMATCH,b", "-x", mixed, url)
	f("b", "IN-TYPE,HTTP,a\nMATCH,b", "-p", "-x", mixed, url)
	f("a", "IN-TYPE,https,a\nMATCH,b", "-p", "-x", mixed, url)
	f("a", "IN-TYPE,SOCKS,a\nMATCH,b", "-x", socks5, url)
	f("a", "IN-TYPE,SOCKS,a\nMATCH,b", "-x", socks4, url)
	f("b", "IN-TYPE,SOCKS,a\nMATCH,b", "-x", mixed, url)
	f("a", "IN-TYPE,SOCKS4/HTTP,a\nMATCH,b", "-x", socks4, url)
	f("b", "IN-TYPE,SOCKS4/HTTP,a\nMATCH,b", "-x", socks5, url)
	// IN-NAME and IN-PORT.
	f("a", "IN-NAME,DEFAULT-HTTP/DEFAULT-SOCKS,a\nMATCH,b", "-x", web, url)
	f("a", "IN-NAME,DEFAULT-HTTP/DEFAULT-SOCKS,a\nMATCH,b", "-x", onSocks, url)
	f("b", "IN-NAME,DEFAULT-HTTP/DEFAULT-SOCKS,a\nMATCH,b", "-x", socks5, url)
	f("a", "IN-PORT,"+mixedPort+",a\nMATCH,b", "-x", mixed, url)
	f("b", "IN-PORT,"+mixedPort+",a\nMATCH,b", "-x", web, url)
	// DST-PORT, with lists and ranges.
	f("a", "DST-PORT,80/8000-8010,a\nMATCH,b", "-x", mixed, url)
	f("a", "DST-PORT,80/8000-8010,a\nMATCH,b", "-x", mixed, "http://x.test:8005/")
	f("b", "DST-PORT,80/8000-8010,a\nMATCH,b", "-x", mixed, "http://x.test:8011/")
	// SRC-IP-CIDR.
	f("a", "SRC-IP-CIDR,127.0.0.1/32,a\nMATCH,b", "-x", mixed, url)
	f("b", "SRC-IP-CIDR,127.0.0.2/31,a\nMATCH,b", "-x", mixed, url)
	// Names.
	f("a", "DOMAIN-WILDCARD,?.T*,a\nMATCH,b", "-x", mixed, url)
	f("b", "DOMAIN-WILDCARD,?.T*,a\nMATCH,b", "-x", mixed, "http://xy.test/")
	f("a", `DOMAIN-REGEX,^X\.(test|example)$,a`+"\nMATCH,b", "-x", mixed, url)
	f("b", `DOMAIN-REGEX,^X\.(test|example)$,a`+"\nMATCH,b", "-x", mixed, "http://ax.test/")
	f("a", "DOMAIN-SUFFIX,test,a\nMATCH,b", "-x", mixed, url)
	f("a", "DOMAIN-KEYWORD,.Te,a\nMATCH,b", "-x", mixed, url)
	f("b", "DOMAIN,test,a\nMATCH,b", "-x", mixed, url)
	// Logic.
	f("a", "AND,((DOMAIN,x.test),(NOT,((DST-PORT,443)))),a\nMATCH,b", "-x", mixed, url)
	f("b", "AND,((DOMAIN,x.test),(DST-PORT,443)),a\nMATCH,b", "-x", mixed, url)
	f("a", "OR,((DOMAIN,y.test),(DST-PORT,80)),a\nMATCH,b", "-x", mixed, url)
	f("b", "OR,((DOMAIN,y.test),(DST-PORT,81)),a\nMATCH,b", "-x", mixed, url)
	f("b", "NOT,((DOMAIN,x.test)),a\nMATCH,b", "-x", mixed, url)
	f("a", "NOT,((DOMAIN,x.test)),a\nMATCH,b", "-x", mixed, "http://y.test/")
	// Addresses: LAN needs no database.
	f("a", "GEOIP,LAN,a\nMATCH,b", "-x", mixed, "http://10.1.2.3/")
	f("b", "GEOIP,LAN,a\nMATCH,b", "-x", mixed, "http://203.0.113.9/")
	f("a", "IP-SUFFIX,0.0.0.9/8,a\nMATCH,b", "-x", mixed, "http://203.0.113.9/")
	// PASS goes on to the next rule, by itself and out of sub-rules: there behind the outer one.
	f("b", "DOMAIN,x.test,PASS\nMATCH,b", "-x", mixed, url)
	load(t, d, base+ruleLines("rules", "SUB-RULE,(DOMAIN-SUFFIX,test),s\nMATCH,b")+"sub-rules: {s: ['DOMAIN,x.test,PASS', 'MATCH,a']}\n")
	takes(t, d, "x.test", "b")
	takes(t, d, "y.test", "a")
}

// TestInUser tells users apart who have logged in.
func TestInUser(t *testing.T) {
	d := testkit.Start(t, nowhere+"mixed-port: MIXED\nauthentication: ['u:p', 'v:p', 'U:p']\n"+answering(t, "a", "b")+ruleLines("rules", "IN-USER,w/u,a\nMATCH,b"))
	f := func(want, proxy string) {
		t.Helper()
		if got, err := curl(t, "-x", proxy+d.Mixed, "http://x.test/"); err != nil || got != want {
			t.Errorf("%s goes through %q, %v; want %q", proxy, got, err, want)
		}
	}
	f("a", "http://u:p@")
	f("a", "socks5h://u:p@")
	f("b", "http://v:p@")
	f("b", "socks5h://v:p@")
	f("b", "http://U:p@") // another user
}

// TestNetworkRule sends a datagram and a request to the same place.
func TestNetworkRule(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	d := testkit.Start(t, nowhere+"mixed-port: MIXED\n"+answering(t, "a")+ruleLines("rules", "NETWORK,TCP,a\nNETWORK,udp,DIRECT\nMATCH,REJECT"))
	target := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	takes(t, d, target.String(), "a")
	c := associate(t, d.Mixed)
	if _, err := c.Write(append(socks.AppendDatagram(nil, flow.Addr{IP: target.Addr(), Port: target.Port()}), "ping"...)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil || !strings.HasSuffix(string(b[:n]), "ping") {
		t.Errorf("%q, %v", b[:n], err)
	}
	var by []string
	for _, f := range get[api.Connections](t, d, "/connections").Connections {
		if f.Metadata.Network == "udp" {
			by = append(by, f.Rule+" "+f.RulePayload)
		}
	}
	if !slices.Equal(by, []string{"Network udp"}) {
		t.Errorf("datagrams go by %v", by)
	}
}

// TestSpellings asks for one name in every spelling that clients may use.
func TestSpellings(t *testing.T) {
	d := testkit.Start(t, nowhere+"mixed-port: MIXED\n"+answering(t, "a", "b", "c")+
		ruleLines("rules", "DOMAIN,BÜCHER.test,a\nDOMAIN-SUFFIX,Xn--Bcher-Kva.Example.,b\nMATCH,c"))
	f := func(host, want, chain string) {
		t.Helper()
		c := connect(t, d.Mixed, host+":80")
		defer c.Close()
		if got := shown(t, d, c); got.Metadata.Host != want || !slices.Equal(got.Chains, []string{chain}) {
			t.Errorf("%s: %q through %v; want %q through %s", host, got.Metadata.Host, got.Chains, want, chain)
		}
	}
	f("bücher.test", "xn--bcher-kva.test", "a")
	f("BÜCHER.TEST.", "xn--bcher-kva.test", "a")
	f("xn--BCHER-kva.test", "xn--bcher-kva.test", "a")
	f("www.Bücher.example.", "www.xn--bcher-kva.example", "b")
	f("bucher.test", "bucher.test", "c")
}

// TestRulesThatLookUp has rules that want the address of a name, and others that do without.
func TestRulesThatLookUp(t *testing.T) {
	base := nowhere + "ipv6: false\n" + answering(t, "a", "b")
	d := testkit.Start(t, "mixed-port: MIXED\n"+base)
	f := func(rules, host, chain, ip string) {
		t.Helper()
		load(t, d, base+ruleLines("rules", rules))
		c := connect(t, d.Mixed, host+":80")
		defer c.Close()
		got := shown(t, d, c)
		if !slices.Equal(got.Chains, []string{chain}) || got.Metadata.DestinationIP != ip || got.Metadata.Host != host {
			t.Errorf("%s\n%s: through %v, address %q; want %s, %q", rules, host, got.Chains, got.Metadata.DestinationIP, chain, ip)
		}
	}
	f("IP-CIDR,127.0.0.0/8,a\nMATCH,b", "localhost", "a", "127.0.0.1")
	f("IP-CIDR,10.0.0.0/8,a\nMATCH,b", "localhost", "b", "127.0.0.1")
	f("IP-CIDR,127.0.0.0/8,a,no-resolve\nMATCH,b", "localhost", "b", "")
	f("DOMAIN,localhost,b\nIP-CIDR,127.0.0.0/8,a", "localhost", "b", "") // decided before
	// What one rule has asked for, others know.
	f("IP-CIDR,10.0.0.0/8,b\nIP-CIDR,127.0.0.0/8,a,no-resolve\nMATCH,b", "localhost", "a", "127.0.0.1")
	f("IP-CIDR,127.0.0.0/8,a,src\nMATCH,b", "localhost", "a", "")
}

// TestSubRules shows the outer rule, whichever of the inner ones decides.
func TestSubRules(t *testing.T) {
	d := testkit.Start(t, nowhere+"mixed-port: MIXED\n"+answering(t, "a", "b", "c")+`
sub-rules:
  outer: ["DOMAIN,a.sub.test,a", "SUB-RULE,(DST-PORT,81),inner", "DOMAIN,never.test,b"]
  inner: ["DOMAIN-SUFFIX,sub.test,b"]
`+ruleLines("rules", "SUB-RULE,(DOMAIN-SUFFIX,sub.test),outer\nMATCH,c"))
	f := func(target, rule, payload, chain string) {
		t.Helper()
		c := connect(t, d.Mixed, target)
		defer c.Close()
		if got := shown(t, d, c); got.Rule != rule || got.RulePayload != payload || !slices.Equal(got.Chains, []string{chain}) {
			t.Errorf("%s: %s %s through %v; want %s %s, %s", target, got.Rule, got.RulePayload, got.Chains, rule, payload, chain)
		}
	}
	f("a.sub.test:80", "SubRules", "(DOMAIN-SUFFIX,sub.test)", "a")
	f("b.sub.test:81", "SubRules", "(DOMAIN-SUFFIX,sub.test)", "b")
	f("b.sub.test:80", "Match", "", "c") // none of the inner ones holds: on behind
	f("other.test:81", "Match", "", "c")
	rules := get[api.RuleList](t, d, "/rules").Rules
	if len(rules) != 2 || rules[0].Type != "SubRules" || rules[0].Proxy != "outer" || rules[0].Extra.HitCount != 2 || rules[1].Extra.HitCount != 2 {
		t.Errorf("%+v", rules)
	}
}

// TestRematch leads flows to the rules again: with a name, to sub-rules, with both, and for ever.
func TestRematch(t *testing.T) {
	d := testkit.Start(t, nowhere+"mixed-port: MIXED\n"+answering(t, "a", "b", "c")+`
- {name: again, type: rematch, target-rematch-name: second}
- {name: aside, type: rematch, target-sub-rule: side}
- {name: both, type: rematch, target-rematch-name: third, target-sub-rule: side}
- {name: circle, type: rematch}
proxy-groups: [{name: G, type: select, proxies: [again]}]
sub-rules:
  side: ["REMATCH-NAME,third,b", "DOMAIN,stray.test,PASS", "NETWORK,tcp,c"]
`+ruleLines("rules", `REMATCH-NAME,second,a
DOMAIN,again.test,G
DOMAIN,aside.test,aside
DOMAIN,stray.test,aside
DOMAIN,both.test,both
DOMAIN,circle.test,circle
MATCH,REJECT`))
	f := func(host, rule, chain string) {
		t.Helper()
		c := connect(t, d.Mixed, host+":80")
		defer c.Close()
		if got := shown(t, d, c); got.Rule != rule || !slices.Equal(got.Chains, []string{chain}) {
			t.Errorf("%s: %s through %v; want %s through %s", host, got.Rule, got.Chains, rule, chain)
		}
	}
	f("again.test", "RematchName", "a")
	f("aside.test", "Network", "c")
	f("stray.test", "Network", "c")
	f("both.test", "RematchName", "b")
	if got, err := curl(t, "-x", "http://"+d.Mixed, "-w", "%{http_code}", "http://circle.test/"); err != nil || !strings.HasSuffix(got, "502") {
		t.Errorf("a circle by HTTP: %q, %v", got, err)
	}
	if got, err := curl(t, "-x", "socks5h://"+d.Mixed, "http://circle.test/"); err == nil || !strings.Contains(got, "SOCKS5") {
		t.Errorf("a circle by SOCKS: %q, %v", got, err)
	}
	d.WaitLog(t, "matched again more than")
	takes(t, d, "again.test", "a") // the daemon is well
}

// TestRuleList counts known traffic, switches rules off and on, and changes the configuration.
func TestRuleList(t *testing.T) {
	d := testkit.Start(t, nowhere+"mixed-port: MIXED\n"+answering(t, "a", "b", "c")+`
sub-rules: {s: ["DOMAIN,sub.test,b"]}
`+ruleLines("rules", "DOMAIN,A.test,a\nGEOIP,lan,b,no-resolve\nSUB-RULE,(DOMAIN-SUFFIX,sub.test),s\nDOMAIN,b.test,PASS\nMATCH,c"))
	began := time.Now().Truncate(time.Second)
	rules := func(want ...[2]int64) []api.Rule { // hits and misses of each
		t.Helper()
		list := get[api.RuleList](t, d, "/rules").Rules
		if len(list) != len(want) {
			t.Fatalf("%d rules: %+v", len(list), list)
		}
		for i, r := range list {
			x := r.Extra
			if r.Index != i || x.HitCount != want[i][0] || x.MissCount != want[i][1] {
				t.Errorf("rule %d: index %d, %d hits, %d misses; want %v", i, r.Index, x.HitCount, x.MissCount, want[i])
			}
			for _, c := range []struct {
				n  int64
				at time.Time
			}{{x.HitCount, x.HitAt}, {x.MissCount, x.MissAt}} {
				if c.n == 0 && c.at.Year() != 1 || c.n > 0 && (c.at.Before(began.Add(-time.Second)) || c.at.After(time.Now())) {
					t.Errorf("rule %d: %d times, last at %v", i, c.n, c.at)
				}
			}
		}
		return list
	}
	list := rules([2]int64{}, [2]int64{}, [2]int64{}, [2]int64{}, [2]int64{})
	for i, want := range []api.Rule{
		{Type: "Domain", Payload: "a.test", Proxy: "a", Size: -1},
		{Type: "GeoIP", Payload: "lan", Proxy: "b", Size: list[1].Size},
		{Type: "SubRules", Payload: "(DOMAIN-SUFFIX,sub.test)", Proxy: "s", Size: -1},
		{Type: "Domain", Payload: "b.test", Proxy: "PASS", Size: -1},
		{Type: "Match", Proxy: "c", Size: -1},
	} {
		want.Index, want.Extra = i, list[i].Extra
		if list[i] != want {
			t.Errorf("%+v; want %+v", list[i], want)
		}
	}
	takes(t, d, "a.test", "a")
	takes(t, d, "a.test", "a")
	takes(t, d, "10.0.0.1", "b")
	takes(t, d, "sub.test", "b")
	takes(t, d, "b.test", "c") // which its rule has matched, and handed on
	takes(t, d, "c.test", "c")
	if status, body := d.Do(t, "POST", "/rules/match", `{"host":"a.test","trace":true}`); status != 200 {
		t.Errorf("%d %s", status, body) // and that counts nothing
	}
	rules([2]int64{2, 4}, [2]int64{1, 3}, [2]int64{1, 2}, [2]int64{1, 1}, [2]int64{2, 0})

	live := connect(t, d.Mixed, "a.test:80")
	rules([2]int64{3, 4}, [2]int64{1, 3}, [2]int64{1, 2}, [2]int64{1, 1}, [2]int64{2, 0})
	change := func(method, path, body string, want int, says string) {
		t.Helper()
		if status, text := d.Do(t, method, path, body); status != want || !strings.Contains(text, says) {
			t.Errorf("%s %s %s: %d %s; want %d, %s", method, path, body, status, text, want, says)
		}
	}
	off := func(want ...bool) {
		t.Helper()
		for i, r := range get[api.RuleList](t, d, "/rules").Rules {
			if r.Extra.Disabled != want[i] {
				t.Errorf("rule %d is off: %v", i, r.Extra.Disabled)
			}
		}
	}
	// All that are named, or none.
	change("PATCH", "/rules/disable", `{"0":true,"5":true}`, 400, `"code":"unknown_rule"`)
	change("PATCH", "/rules/disable", `{"0":true,"x":true}`, 400, `"code":"unknown_rule"`)
	change("PATCH", "/rules/disable", `{"-1":true}`, 400, `"code":"unknown_rule"`)
	off(false, false, false, false, false)
	change("PATCH", "/rules/disable", `{"0":true,"2":true}`, 204, "")
	off(true, false, true, false, false)
	takes(t, d, "a.test", "c")
	takes(t, d, "sub.test", "c")
	_, _ = io.WriteString(live, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if got, err := io.ReadAll(live); err != nil || !strings.HasSuffix(string(got), "\r\n\r\na") {
		t.Errorf("the tunnel that was open: %q, %v", got, err)
	}
	// What is off neither hits nor misses.
	rules([2]int64{3, 4}, [2]int64{1, 5}, [2]int64{1, 2}, [2]int64{1, 3}, [2]int64{4, 0})
	// A change of something else keeps what is off, and all counts.
	change("PATCH", "/configs", `{"log-level":"debug"}`, 204, "")
	off(true, false, true, false, false)
	takes(t, d, "a.test", "c")
	rules([2]int64{3, 4}, [2]int64{1, 6}, [2]int64{1, 2}, [2]int64{1, 4}, [2]int64{5, 0})
	change("PATCH", "/rules/disable", `{"0":false}`, 204, "")
	off(false, false, true, false, false)
	takes(t, d, "a.test", "a")
	takes(t, d, "c.test", "c")
	rules([2]int64{4, 5}, [2]int64{1, 7}, [2]int64{1, 2}, [2]int64{1, 5}, [2]int64{6, 0})
	// The file knows nothing of switches.
	for _, reload := range []func(){
		func() { change("PUT", "/configs", "{}", 204, "") },
		func() { d.Signal(t, syscall.SIGHUP); d.WaitLog(t, "configuration reloaded") },
	} {
		change("PATCH", "/rules/disable", `{"0":true,"2":true}`, 204, "")
		takes(t, d, "sub.test", "c")
		reload()
		off(false, false, false, false, false)
		takes(t, d, "sub.test", "b")
		takes(t, d, "a.test", "a")
	}
}

// TestMatchByAPI asks where flows would go, and then sends them.
func TestMatchByAPI(t *testing.T) {
	d := testkit.Start(t, nowhere+"mixed-port: MIXED\nipv6: false\n"+answering(t, "a", "b", "c")+`
- {name: again, type: rematch, target-rematch-name: x}
proxy-groups: [{name: G, type: select, proxies: [b, a]}]
`+ruleLines("rules", "REMATCH-NAME,x,c\nDOMAIN,a.test,G\nDOMAIN,pass.test,PASS\nDOMAIN,again.test,again\nPROCESS-NAME,nobody,a\nIP-CIDR,127.0.0.0/8,a\nMATCH,b"))
	f := func(host string, index int, chain ...string) (r api.Route) {
		t.Helper()
		status, body := d.Do(t, "POST", "/rules/match", fmt.Sprintf(`{"host":%q,"port":80,"trace":true}`, host))
		if err := json.Unmarshal([]byte(body), &r); err != nil || status != 200 || r.Rule == nil {
			t.Fatalf("%s: %d %s, %v", host, status, body, err)
		}
		c := connect(t, d.Mixed, host+":80")
		defer c.Close()
		is := shown(t, d, c)
		if r.Rule.Index != index || !slices.Equal(r.Chains, chain) || !slices.Equal(is.Chains, chain) || string(r.Rule.Type) != is.Rule || r.Rule.Payload != is.RulePayload {
			t.Errorf("%s: explained as %+v through %v, and is %s %s through %v; want rule %d, %v", host, *r.Rule, r.Chains, is.Rule, is.RulePayload, is.Chains, index, chain)
		}
		last := len(r.Trace) - 1
		for i, s := range r.Trace {
			if decided := s.Holds && s.Why == ""; decided != (i == last) {
				t.Errorf("%s: step %d of %d: %+v", host, i, last+1, s)
			}
		}
		if last < 0 || r.Trace[last].Rule != *r.Rule || r.Error != nil || r.TraceCut {
			t.Errorf("%s: %+v", host, r)
		}
		return r
	}
	if r := f("a.test", 1, "b", "G"); r.Lookup != nil || r.AskedProcess || len(r.Trace) != 2 {
		t.Errorf("%+v", r)
	}
	if r := f("localhost", 5, "a"); r.Lookup == nil || !slices.Equal(r.Lookup.Addresses, []string{"127.0.0.1"}) {
		t.Errorf("%+v", r)
	}
	if r := f("again.test", 0, "c"); !slices.Equal(r.Rematched, []string{"again"}) {
		t.Errorf("%+v", r)
	}
	if r := f("10.0.0.1", 6, "b"); r.Lookup != nil {
		t.Errorf("%+v", r)
	}
	status, body := d.Do(t, "POST", "/rules/match", `{"host":"pass.test","ip":"10.0.0.1","trace":true}`)
	if status != 200 || !strings.Contains(body, `"why":"it hands on (PASS)"`) || !strings.Contains(body, `"chains":["b"]`) {
		t.Errorf("%d %s", status, body)
	}
	status, body = d.Do(t, "POST", "/rules/match", `{"ip":"10.0.0.1","process":"/usr/bin/NoBody"}`)
	if status != 200 || !strings.Contains(body, `"chains":["a"]`) || strings.Contains(body, "trace\"") {
		t.Errorf("%d %s", status, body)
	}
	for _, bad := range []string{`{}`, `{"host":"a b"}`, `{"ip":"x"}`, `{"host":"a.test","network":"sctp"}`, `{"host":"a.test","type":"pigeon"}`, `[]`} {
		if status, body := d.Do(t, "POST", "/rules/match", bad); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, status, body)
		}
	}
}
