package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// said parses text and returns everything that is said of it, a line each.
func said(text string) string {
	_, diags := Parse("f", []byte(text))
	lines := make([]string, len(diags))
	for i, d := range diags {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

func TestDiagnostics(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := said(text); got != want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
	// YAML itself.
	f("", "f: error: the configuration is empty")
	f("# nothing", "f: error: the configuration is empty")
	f("- a", "f:1:1: error: want a map of settings")
	f("a: [1\nb: 2", "f:2:1: error: yaml: line 2: did not find expected ',' or ']'")
	f("mode: rule\nmode: global", "f:2:1: error: mode: this key is there already, in line 1")
	// Scalars are what they are, at the top level.
	f("mixed-port: abc", `f:1:13: error: mixed-port: want a number, got "abc"`)
	f(`mixed-port: "7890"`, `f:1:13: error: mixed-port: want a number, got "7890"`)
	f("mixed-port: 65536", "f:1:13: error: mixed-port: want 0-65535, got 65536")
	f("ipv6: maybe", `f:1:7: error: ipv6: want true or false, got "maybe"`)
	f("mode: rulez", `f:1:7: error: mode: want rule, global, direct, got "rulez" (did you mean "rule"?)`)
	f("log-level: warn", `f:1:12: error: log-level: want debug, info, warning, error, silent, got "warn"`)
	f("lan-allowed-ips: [10.0.0.0/8, zz]", `f:1:31: error: lan-allowed-ips[1]: want a prefix such as 192.168.0.0/16, got "zz"`)
	f("external-controller: 9090", `f:1:22: error: external-controller: want an address such as 127.0.0.1:9090, got "9090"`)
	// Unknown keys are warnings with the nearest known one; anchors may stand anywhere.
	f("mixd-port: 1", `f:1:1: warning: mixd-port: unknown key (did you mean "mixed-port"?)`)
	f("x-mine: &a {type: direct}\nproxies: [{<<: *a, name: n}]", "")
	// Two ports cannot be one.
	f("socks-port: 81\nexternal-controller: 127.0.0.1:81", "f:2:1: error: external-controller: port 81 is that of socks-port already")
	f("socks-port: 81\nexternal-controller: 192.0.2.1:81", "")
	f("external-controller: ':81'\ndns: {enable: true, listen: '127.0.0.1:81', nameserver: [192.0.2.1]}", "f:2:21: error: dns.listen: port 81 is that of external-controller already")
	f("port: 80\nsocks-port: 80", "f:2:1: error: socks-port: port 80 is that of port already")
	// What later versions build is refused by name when it is on.
	f("sniffer: {enable: true}\ntun: {enable: false}",
		"f:1:1: error: sniffer: not supported yet\nf:2:1: note: tun: is switched off, and changes nothing")
	f("tls: {client-auth-type: require-and-verify, certificate: c, private-key: k}\nexternal-controller-tls: 127.0.0.1:1", "f:1:1: error: tls.client-auth-type: not supported yet")
	f("proxies: [1]\ntls: {custom-certifactes: [x]}\nallow-lan: true\nbind-address: zz",
		"f:1:11: error: proxies[0]: want a map, got \"1\"\nf:2:1: error: tls.custom-certifactes[0]: want a certificate in PEM\nf:4:1: error: bind-address: want * or an address, got \"zz\"")
	// What may hold a password is never quoted.
	f(`proxies: ["ss://cGFzcw@192.0.2.1:8388#x"]`, "f:1:11: error: proxies[0]: want a map, got a URL")
	f("redir-port: 1", "f:1:1: error: redir-port: not supported yet")
	f("geodata-loader: standard", "f:1:1: note: geodata-loader: changes nothing here")
	// Nodes.
	f("proxies: [{name: a, type: direct}, {name: a, type: direct}]", `f:1:36: error: proxies[1].name: the name "a" is there already, in line 1`)
	f("proxies: [{name: PASS, type: direct}]", `f:1:11: error: proxies[0].name: the name "PASS" is built in`)
	f("proxies: [{name: a, type: sock5, server: x, port: 1}]", `f:1:27: error: proxies[0].type: unknown type "sock5" (did you mean "socks5"?)`)
	f("proxies: [{name: a, type: socks5, server: x}]", "f:1:11: error: proxies[0]: a node of type socks5 needs port")
	f(`proxies: [{name: a, type: socks5, server: x, port: "1080", udp: 1}]`, "") // weakly typed
	f("proxies: [{name: a, type: ss, server: x, port: 1, cipher: c, password: p, plugin: y}]", "")
	f(`proxies: [{name: a, type: http, server: x, port: 1, headers: {X: "a\r\nHost: evil"}}]`, "f:1:11: error: proxies[0]: headers of an http node are one line each")
	f("proxies: [{name: a, type: socks5, server: x, port: 1, password: "+strings.Repeat("p", 256)+"}]",
		"f:1:11: error: proxies[0]: username and password of a socks5 node have 255 bytes at the most")
	f("proxies: [{name: a, type: direct, dialer-proxy: b}]", `f:1:11: error: proxies[0].dialer-proxy: no proxy or group is called "b"`)
	f("proxies: [{name: a, type: http, server: x, port: 1, dialer-proxy: g}]\nproxy-groups: [{name: g, type: select, proxies: [a]}]",
		"f:1:11: error: proxies[0].dialer-proxy: dials through itself: a -> g -> a")
	f("proxies: [{name: a, type: http, server: x, port: 1, dialer-proxy: GLOBAL}]",
		"f:1:11: error: proxies[0].dialer-proxy: dials through itself: a -> GLOBAL -> a")
	// Groups.
	f("proxy-groups: [{name: g, type: select, proxies: [GLOBAL]}]", "f:1:16: error: proxy-groups[0]: groups contain themselves: g -> GLOBAL -> g")
	f("proxy-groups: [{name: g, type: select, proxies: [DIRCT]}]", `f:1:50: error: proxy-groups[0].proxies[0]: no proxy or group is called "DIRCT" (did you mean "DIRECT"?)`)
	f("proxy-groups: [{name: g, type: url-test, proxies: [DIRECT]}]", "")
	f("proxy-groups: [{name: GLOBAL, type: select, include-all: true}]", "")
	f("proxy-groups: [{name: g, type: select, include-all: true, empty-fallback: g}]", "f:1:16: error: proxy-groups[0]: groups contain themselves: g -> g")
	f("proxy-groups: [{name: g, type: url-test, use: [p]}]", `f:1:48: error: proxy-groups[0].use[0]: no proxy provider is called "p"`)
	f("proxy-groups: [{name: g, type: select, include-all: true, filter: 'a`(b'}]",
		"f:1:67: error: proxy-groups[0].filter: pattern 2: error parsing regexp: missing closing ) in `(b`")
	// Proxy providers.
	f("proxy-providers: {sub: {type: http, url: 'http://a/', interval: 3600}}\nproxy-groups: [{name: g, type: select, use: [sup]}]",
		`f:2:46: error: proxy-groups[0].use[0]: no proxy provider is called "sup" (did you mean "sub"?)`)
	f("proxy-providers: {g: {type: file, path: a}}\nproxy-groups: [{name: g, type: select, proxies: [DIRECT]}]",
		`f:2:16: error: proxy-groups[0].name: the name "g" is that of a proxy provider`)
	f("proxy-providers: {p: {url: 'http://a/'}}", "f:1:22: error: proxy-providers.p: want a type: http, file or inline")
	f("proxy-providers: {p: {type: htp}}", `f:1:29: error: proxy-providers.p.type: want http, file, inline, got "htp" (did you mean "http"?)`)
	f("proxy-providers: {p: {type: http}}", "f:1:22: error: proxy-providers.p: a proxy provider of type http needs url")
	f("proxy-providers: {p: {type: http, url: 'ftp://u:secret@a/'}}", "f:1:40: error: proxy-providers.p.url: want an http or https URL, got something else")
	f("proxy-providers: {p: {type: file}}", "f:1:22: error: proxy-providers.p: a proxy provider of type file needs path")
	f("proxy-providers: {p: {type: inline}}", "f:1:22: error: proxy-providers.p: a proxy provider of type inline needs payload")
	f("proxy-providers: {p: {type: inline, payload: []}}", "f:1:46: error: proxy-providers.p.payload: the list has no nodes")
	f("proxy-providers: {p: {type: inline, filter: zz, payload: [{name: x, type: direct}]}}",
		"f:1:58: error: proxy-providers.p.payload: no node is left: see filter, exclude-filter and exclude-type")
	f("proxy-providers: {p: {type: inline, filter: '[', payload: [{name: x, type: direct}]}}",
		"f:1:45: error: proxy-providers.p.filter: error parsing regexp: unterminated [] set in `[`")
	f("proxy-providers: {p: {type: inline, payload: [{name: x, type: direct}, {name: y, type: http, port: 1}, {name: x, type: dns}]}}",
		"f:1:72: warning: proxy-providers.p.payload[1]: a node of type http needs server\n"+
			"f:1:104: warning: proxy-providers.p.payload[2]: the name is that of node 0 already")
	f("proxy-providers: {default: {type: file, path: a}}",
		`f:1:28: error: proxy-providers.default: no provider can be called "default": that name stands for the nodes of the file`)
	f("proxy-providers: {p: {type: file, path: a, proxy: b, override: {dialer-proxy: c}}}",
		"f:1:51: error: proxy-providers.p.proxy: no proxy or group is called \"b\"\n"+
			"f:1:79: error: proxy-providers.p.override.dialer-proxy: no proxy or group is called \"c\"")
	f("proxy-providers: {p: {type: file, path: a, dialer-proxy: g}}\nproxy-groups: [{name: g, type: select, proxies: [h]}, {name: h, type: select, use: [p]}]",
		"f:1:58: warning: proxy-providers.p.dialer-proxy: its nodes are dialed through themselves: p -> g -> h -> p")
	f("proxies: [{name: n, type: http, server: x, port: 1, dialer-proxy: h}]\nproxy-providers: {p: {type: file, path: a, dialer-proxy: g}}\n"+
		"proxy-groups: [{name: g, type: select, proxies: [n]}, {name: h, type: select, use: [p]}]",
		"f:2:58: warning: proxy-providers.p.dialer-proxy: its nodes are dialed through themselves: p -> g -> n -> h -> p")
	f("proxy-providers: {p: {type: file, path: a, override: {udp: maybe, ip-version: ipv5, proxy-name: [{pattern: '(', target: a}], override-expr: a}}}",
		"f:1:60: error: proxy-providers.p.override.udp: want true or false, got \"maybe\"\n"+
			"f:1:79: error: proxy-providers.p.override.ip-version: want dual, ipv4, ipv6, ipv4-prefer, ipv6-prefer, got \"ipv5\" (did you mean \"ipv4\"?)\n"+
			"f:1:98: error: proxy-providers.p.override.proxy-name[0]: error parsing regexp: missing closing ) in `(`\n"+
			"f:1:126: warning: proxy-providers.p.override.override-expr: not supported yet, and left out")
	f("proxy-groups: [{name: g, type: relay, proxies: [DIRECT]}]", "f:1:16: warning: proxy-groups[0].type: relay is deprecated by the family: dialer-proxy of a node does the same")
	f("proxy-groups: [{name: g, type: select}]", "f:1:16: error: proxy-groups[0]: want members: proxies or use")
	f("proxy-groups:\n- {name: a, type: select, proxies: [b]}\n- {name: b, type: select, proxies: [a]}",
		"f:2:3: error: proxy-groups[0]: groups contain themselves: a -> b -> a")
	// Rules.
	f("rules:\n- DOMIAN-SUFFIX,x,DIRECT", `f:2:3: error: rules[0]: [DOMIAN-SUFFIX,x,DIRECT]: unsupported rule type: DOMIAN-SUFFIX (did you mean "DOMAIN-SUFFIX"?)`)
	f("rules:\n- DOMAIN,DIRECT", "f:2:3: error: rules[0]: [DOMAIN,DIRECT]: format invalid: want TYPE,PAYLOAD,TARGET")
	f("rules:\n- MATCH,nope", "f:2:3: error: rules[0]: [MATCH,nope]: proxy [nope] not found")
	f("rules:\n- SUB-RULE,(NETWORK,tcp),iner\nsub-rules:\n  inner: ['MATCH,DIRECT']",
		`f:2:3: error: rules[0]: [SUB-RULE,(NETWORK,tcp),iner]: sub-rule [iner] not found (did you mean "inner"?)`)
	f("sub-rules:\n  a: ['SUB-RULE,(NETWORK,tcp),b']\n  b: ['SUB-RULE,(NETWORK,tcp),a', 'MATCH,nope']",
		"f:2:3: error: sub-rules.a: circular references [a->b->a]\n"+
			"f:3:35: error: sub-rules[b][1]: [MATCH,nope]: proxy [nope] not found")
	// Rule providers.
	f("rule-providers: {p: {behavior: domain, url: 'http://a/'}}", "f:1:21: error: rule-providers.p: want a type: http, file or inline")
	f("rule-providers: {p: {type: http, behavior: domain}}", "f:1:21: error: rule-providers.p: a rule provider of type http needs url")
	f("rule-providers: {p: {type: file, path: a, behavior: classical, format: mrs}}",
		"f:1:21: error: rule-providers.p: mrs holds no classical rules: want domain or ipcidr as the behavior, or another format")
	f("rule-providers: {p: {type: inline, behavior: domian, payload: [a]}}",
		`f:1:46: error: rule-providers.p.behavior: want domain, ipcidr, classical, got "domian" (did you mean "domain"?)`)
	f("rule-providers: {p: {type: http, behavior: domain, url: 'http://a/', proxy: nope, header: {A: [b]}}}",
		`f:1:21: error: rule-providers.p.proxy: no proxy or group is called "nope"`)
	f("rules:\n- IP-CIDR,1.1.1.0/24,DIRECT,no-resolv", `f:2:3: warning: rules[0]: [IP-CIDR,1.1.1.0/24,DIRECT,no-resolv]: unknown parameter "no-resolv" (did you mean "no-resolve"?)`)
}

func TestSecretsAreNeverQuoted(t *testing.T) {
	const word = "hunter2hunter2"
	for _, text := range []string{
		"secret: [" + word + "]",
		"authentication: " + word,
		"authentication: [" + word + "]",
		"tls: {private-key: [" + word + "]}",
		"tuic-server: {enable: true, token: " + word + ", users: " + word + "}",
		"ss-config: [" + word + "]\nvmess-config: {a: " + word + "}",
		"proxies: [{name: a, type: http, server: x, port: 1, password: [" + word + "]}]",
		"proxies: [{name: a, type: ss, server: x, port: zz, cipher: c, password: " + word + ", uuid: " + word + "}]",
		"proxies: [{name: a, type: nope, password: " + word + "}]",
		"proxy-providers: {p: {type: zz, age-secret-key: [" + word + "]}}",
	} {
		if got := said(text); got == "" || strings.Contains(got, word) {
			t.Errorf("%s\n%s", text, got)
		}
	}
}

func TestParse(t *testing.T) {
	c, diags := Parse("f", []byte(`
mixed-port: 7890
mode: GLOBAL
allow-lan: true
bind-address: 192.168.1.1
authentication: ["u:p:q"]
skip-auth-prefixes: [127.0.0.1/8]
lan-allowed-ips: []
keep-alive-idle: 30
external-controller-cors: {allow-origins: [http://a.test]}
proxies:
  - {name: s, type: SOCKS5, server: h, port: 1080, username: 1234, password: 5678, udp: true, skip-cert-verify: "true"}
  - {name: v, type: vmess, server: h, port: 1, uuid: x, alterId: 0, cipher: auto, udp: true, smux: {enabled: true}}
proxy-groups:
  - {name: g, type: select, proxies: [s, DIRECT], disable-udp: true, icon: i}
rules:
  - " domain-suffix , Example.org , g "
  - IP-CIDR,1.0.0.0/8,DIRECT,no-resolve
  - MATCH,g
`))
	if c == nil {
		t.Fatal(diags)
	}
	s, v := c.Proxies[0], c.Proxies[1]
	switch {
	case c.MixedPort != 7890, c.Mode != ModeGlobal, c.BindAddress != "192.168.1.1", c.KeepAliveIdle.Seconds() != 30:
		t.Errorf("%+v", c.General)
	case c.Authentication[0] != User{"u", "p:q"}, c.SkipAuthPrefixes[0].String() != "127.0.0.0/8", c.LANAllowed == nil, c.LANDisallowed != nil:
		t.Errorf("%+v", c.Inbounds)
	case !c.Controller.CORS.AllowOriginsSet, !c.Controller.CORS.AllowPrivateNetwork, !c.IPv6, !c.Profile.StoreSelected:
		t.Errorf("%+v", c.Controller)
	case s.Type != "socks5", s.Port != 1080, s.Login.Username != "1234", !s.UDP, !s.Login.SkipCertVerify, s.Unbuilt():
		t.Errorf("%+v", s)
	case !v.SMux, !v.UoT, !v.Unbuilt():
		t.Errorf("%+v", v)
	case c.Groups[0].Proxies[1].Name != "DIRECT", !c.Groups[0].DisableUDP:
		t.Errorf("%+v", c.Groups[0])
	case c.Rules[0].Type != "DOMAIN-SUFFIX", c.Rules[0].Payload != "Example.org", c.Rules[0].Target != "g", c.Rules[1].Params[0] != "no-resolve":
		t.Errorf("%+v", c.Rules)
	}
	if err := c.Clone().Validate().Err(); err != nil {
		t.Error(err)
	}
}

func TestBuiltIn(t *testing.T) {
	c, diags := Parse("built-in", EmbeddedYAML())
	if len(diags) > 0 || c.MixedPort != 7890 || c.Controller.Addr != "127.0.0.1:9090" || c.Profile.StoreSelected {
		t.Errorf("%v %+v", diags, c)
	}
}

// TestLabConfig reads the configuration the reference was recorded with: everything that this
// version has not got is said at once, and nothing else is.
func TestLabConfig(t *testing.T) {
	dir := os.Getenv("SWITCHYARD_REFERENCE")
	if dir == "" {
		t.Skip("SWITCHYARD_REFERENCE names no folder of recordings")
	}
	text, err := os.ReadFile(filepath.Join(dir, "lab", "home", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, diags := Parse("config.yaml", text)
	for _, d := range diags {
		if d.Severity == Error && !strings.HasSuffix(d.Message, "not supported yet") {
			t.Errorf("%s", d)
		}
	}
	if len(diags) < 4 {
		t.Errorf("only %d things to say", len(diags))
	}
}

// TestCircles: chains of any length are walked once, and a circle is told in few words.
func TestCircles(t *testing.T) {
	const n = 20_000
	chain := func(last int) string {
		var b strings.Builder
		b.WriteString("proxies:\n")
		for i := range n {
			to := i + 1
			if i == n-1 {
				to = last
			}
			fmt.Fprintf(&b, "- {name: p%d, type: http, server: x.test, port: 1, dialer-proxy: p%d}\n", i, to)
		}
		fmt.Fprintf(&b, "- {name: p%d, type: direct}\n", n)
		return b.String()
	}
	if got := said(chain(n)); got != "" {
		t.Errorf("%.200s", got)
	}
	if got := said(chain(0)); !strings.HasPrefix(got, "f:2:3: error: proxies[0].dialer-proxy: dials through itself: p0 -> p1 -> ") ||
		!strings.HasSuffix(got, "p15 -> … -> p0") {
		t.Errorf("%.400s", got)
	}
}

func TestAliasesCannotMultiply(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-0: &a0 [DIRECT, DIRECT]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	b.WriteString("proxies: *a29\nrules: *a29\nproxy-groups: [{name: g, type: select, proxies: *a29}]\n")
	said(b.String()) // ends, and soon
	said("proxies: [&a {<<: *a, name: n, type: direct}]")
	said("proxies: [&a {<<: [*a, *a], name: n, type: direct}]")
}

func TestManyRules(t *testing.T) {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 100_000 {
		fmt.Fprintf(&b, "- DOMAIN-SUFFIX,a%d.example.org,DIRCT\n", i)
	}
	_, diags := Parse("f", []byte(b.String()))
	if len(diags) != maxDiagnostics+1 {
		t.Errorf("%d diagnostics", len(diags))
	}
}

func TestPaths(t *testing.T) {
	home, safe, out := t.TempDir(), t.TempDir(), t.TempDir()
	p := Paths{Home: home, Safe: []string{safe}}
	if err := os.Symlink(out, filepath.Join(home, "link")); err != nil {
		t.Fatal(err)
	}
	f := func(path string, good bool) {
		t.Helper()
		got, err := p.Resolve(path)
		if (err == nil) != good {
			t.Errorf("Resolve(%q) = %q, %v", path, got, err)
		}
	}
	f("a/b.yaml", true)
	f(filepath.Join(safe, "x"), true)
	f("..", false)
	f("../x", false)
	f(filepath.Join(out, "x"), false)
	f("link/x", false)
	f(home+"-2/x", false)
	f("", false)
}

func FuzzParse(f *testing.F) {
	f.Add(string(EmbeddedYAML()))
	f.Add("proxies: [{name: a, type: ss}]\nproxy-groups: [{name: g, type: select, proxies: [a, g]}]")
	f.Add("a: &a [*a]\nrules: *a")
	f.Add("<<: {mode: rule}\nhosts: {a: [b, c]}\nsub-rules: {x: ['MATCH,DIRECT']}")
	f.Add("tunnels: ['tcp,127.0.0.1:1,a:2']\nlisteners: [{type: http}]\ndns: {nameserver-policy: {a: b}}")
	f.Fuzz(func(t *testing.T, text string) {
		c, diags := Parse("f", []byte(text))
		if c == nil && diags.Err() == nil {
			t.Fatalf("%v", diags)
		}
		if diags.Err() == nil {
			if err := c.Validate().Err(); err != nil {
				t.Fatalf("valid once, then %v", err)
			}
		}
	})
}
