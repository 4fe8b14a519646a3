// Package compat replays recorded exchanges of the reference, the daemon whose API this one speaks.
// The recordings are no part of this repository: SWITCHYARD_REFERENCE names the folder that holds
// them, with samples/ and lab/ in it. What is not compared, and what is different on purpose, stands
// in the tables.
package compat

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const wait = 10 * time.Second

// The configurations besides the lab's own.
const (
	controller = "external-controller: 127.0.0.1:19090\nbind-address: 127.0.0.1\n"
	bare       = controller + `
secret: s3cret
port: 17880
socks-port: 17881
authentication: ["u:p"]
unified-delay: true
`
	withUser = bare + plainDNS + `
mixed-port: 17890
proxies:
  - {name: a, type: direct}
  - {name: socks-ok, type: socks5, server: 127.0.0.1, port: 18090}
proxy-groups:
  - {name: T, type: select, proxies: [a]}
  - {name: Sel, type: select, proxies: [socks-ok]}
rules: ["DOMAIN,t.test,T", "MATCH,DIRECT"]
`
	lan = bare + noGeo + `
ipv6: false
proxies: [{name: a, type: direct}]
rules: ["GEOIP,LAN,a"]
`
	withLAN   = lan + plainDNS
	plainDNS  = `dns: {enable: true, enhanced-mode: normal, nameserver: ["127.0.0.1:15353"]}`
	redirHost = lan + `
dns: {enable: true, listen: "127.0.0.1:11053", enhanced-mode: redir-host, nameserver: ["127.0.0.1:15353"]}
hosts: {hosty.test: 127.9.9.9}
`
	fakeIP = bare + `
mixed-port: 17890
dns: {enable: true, listen: "127.0.0.1:11053", enhanced-mode: fake-ip, fake-ip-range: 198.18.0.1/16, nameserver: ["127.0.0.1:15353"]}
proxy-groups: [{name: Sel, type: select, proxies: [DIRECT]}]
rules: ["DOMAIN-SUFFIX,sel.test,Sel", "MATCH,DIRECT"]
`
	withDoH = bare + "external-doh-server: /dns-query\n"
	noPanel = bare + "external-ui: ui\nexternal-ui-url: \"http://127.0.0.1:18081/p/missing.zip\"\n"
	noUI    = bare + "external-ui-url: \"http://127.0.0.1:18099/ui.zip\"\n"
	noGeo   = `
geox-url:
  mmdb: "http://127.0.0.1:18099/none.mmdb"
  geosite: "http://127.0.0.1:18099/none.dat"
  asn: "http://127.0.0.1:18099/a.mmdb"
  geoip: "http://127.0.0.1:18099/geoip.dat"
`
	needASN     = noGeo + `rules: ["IP-ASN,1,DIRECT"]`
	needGeoSite = noGeo + `rules: ["GEOSITE,cn,DIRECT"]`
	badSources  = controller + `
secret: ts
proxy-providers:
  slowp: {type: http, url: "http://127.0.0.1:18081/p/dom.yaml", path: ./slowp.yaml}
  gone: {type: http, url: "http://127.0.0.1:18099/x.yaml", path: ./gone.yaml}
rule-providers:
  rmrs: {type: http, behavior: domain, format: mrs, url: "http://127.0.0.1:18081/p/dom.yaml", path: ./rmrs.mrs}
  rgone: {type: http, behavior: domain, url: "http://127.0.0.1:18099/x.yaml", path: ./rgone.yaml}
`
)

// homes says which daemon a sample is of, if it is not the lab's.
var homes = []struct{ samples, config string }{
	{`nosecret-.*`, controller},
	{`debug-(after-patch-404|not-enabled-by-patch)`, controller + "secret: ts\n"},
	{`cors-default-.*`, controller + "secret: s3cret\n"},
	{`configs-get-minimal|group-only-global|rules-empty|providers-(rules-empty|proxies-minimal)`, bare},
	{`connections-(inbound-user|global-mode)`, withUser},
	{`connections-(ip-target|resolved-host)`, withLAN},
	{`doh-absent|noui-.*`, bare},
	{`upgrade-ui-404`, noPanel},
	{`upgrade-ui-not-configured`, noUI},
	{`doh-disabled|dns-query-disabled|cache-fakeip-flush-dns-off`, withDoH},
	{`connections-fakeip-entry`, fakeIP},
	{`connections-redirhost-entry|(cache-fakeip-flush|dns-query)-redirhost.*|dns-aaaa-ipv6-disabled`, redirHost},
	{`configs-geo-refused`, bare + needASN},
	{`configs-geo-sticky-failure`, bare + noGeo},
	{`upgrade-geo-refused`, bare + needGeoSite},
	{`rp-put-(mrs-invalid|unreachable)|pp-put-(plain-body|unreachable)`, badSources},
}

// before is what was done before a sample was recorded.
var before = []struct {
	samples string
	do      func(h *home)
}{
	{`debug-after-patch-404`, func(h *home) { h.must("PATCH", "/configs", `{"log-level":"debug"}`) }},
	{`configs-get-after`, func(h *home) {
		h.must("PATCH", "/configs", `{"lan-disallowed-ips":[],"tun":{"device":"tstun0","stack":"mixed",
			"dns-hijack":["any:53"],"auto-route":false,"auto-detect-interface":false,"mtu":1400}}`)
	}},
	{`group-get-unicode`, func(h *home) { h.must("PUT", "/proxies/%E6%97%A5%E6%9C%AC%2F%E7%BB%84%201", `{"name":"Sel"}`) }},
	{`proxy-get-urltest-fixed|group-delay-clears-fixed-even-on-400`, func(h *home) { h.must("PUT", "/proxies/Auto", `{"name":"http-ok"}`) }},
	{`proxy-get-urltest-fixed-dead`, func(h *home) { h.must("PUT", "/proxies/Auto", `{"name":"socks-dead"}`) }},
	{`proxy-get-fallback-fixed|proxy-delete-fallback`, func(h *home) { h.must("PUT", "/proxies/Fall", `{"name":"http-ok"}`) }},
	{`proxy-get-fallback-fixed-dead`, func(h *home) { h.must("PUT", "/proxies/Fall", `{"name":"socks-dead"}`) }},
	{`connections-entry-https|connection-(delete|get)-.*`, func(h *home) { h.connect("17890", "direct.test:18093", "") }},
	{`connections-entry-http-plain`, func(h *home) {
		_, _ = h.dial("17890").Write([]byte(h.text("GET http://direct.test:18080/ HTTP/1.1\r\nHost: direct.test:18080\r\n\r\n")))
		h.waitFlows(1)
	}},
	{`connections-entry-socks5`, func(h *home) {
		h.say("17890", "\x05\x01\x00\x05\x01\x00\x03\x0bdirect.test"+h.portBytes("18093"), 12)
	}},
	{`connections-entry-socks4`, func(h *home) {
		h.say("17890", "\x04\x01"+h.portBytes("18093")+"\x00\x00\x00\x01usr\x00direct.test\x00", 8)
	}},
	{`connections-entry-subrule`, func(h *home) { h.connect("17890", "z.sub.test:18093", "") }},
	{`connections-list`, func(h *home) {
		h.must("PUT", "/proxies/Auto", `{"name":"http-ok"}`)
		h.connect("17890", "direct.test:18093", "")
		h.say("17890", "\x05\x01\x00\x05\x01\x00\x03\x0bdirect.test"+h.portBytes("18093"), 12)
		h.connect("17890", "auto.test:18093", "")
	}},
	{`connections-ip-target`, func(h *home) { h.connect("17880", "127.0.0.1:18093", "u:p") }},
	{`connections-resolved-host`, func(h *home) { h.connect("17880", "other.test:18093", "u:p") }},
	{`pp-get-after-links`, func(h *home) {
		h.serve("/providers/proxies/httpp", "socks://127.0.0.1:18090#linkname\nss://YWVzLTEyOC1nY206cA@127.0.0.1:18092#sslink\n")
		h.must("PUT", "/providers/proxies/httpp", "")
	}},
	// What the daemon tries by itself is over before it is asked to.
	{`configs-geo-refused`, func(h *home) { h.WaitLog(h.t, "can't download ASN database file") }},
	{`configs-geo-sticky-failure`, func(h *home) {
		payload, _ := json.Marshal(map[string]string{"payload": h.text(needASN)})
		h.must("PUT", "/configs", string(payload))
		h.WaitLog(h.t, "can't download ASN database file")
		h.must("PUT", "/configs", "{}")
	}},
	{`upgrade-geo-refused`, func(h *home) { h.WaitLog(h.t, "can't download GeoSite database file") }},
	{`dns-query-cached-ttl`, func(h *home) { h.Do(h.t, "GET", "/dns/query?name=ttl.test", "") }},
	{`doh-(get|post|slash|sub)`, func(h *home) { // the second name that gets an address
		h.must("POST", "/cache/fakeip/flush", "")
		h.must("GET", "/dns-query?dns=AAEBAAABAAAAAAAABWZha2UwBHRlc3QAAAEAAQ", "")
	}},
	{`connections-fakeip-entry`, func(h *home) { h.connect("17890", h.resolve("fk.sel.test")+":18093", "u:p") }},
	{`connections-redirhost-entry`, func(h *home) { h.connect("17880", h.resolve("mapped.test")+":18093", "u:p") }},
	{`connections-inbound-user`, func(h *home) { h.connect("17880", "t.test:18093", "u:p") }},
	{`connections-global-mode`, func(h *home) {
		h.must("PATCH", "/configs", `{"mode":"global"}`)
		h.must("PUT", "/proxies/GLOBAL", `{"name":"Sel"}`)
		h.connect("17890", "glob.test:18093", "u:p")
	}},
}

// waitFlows waits until n flows are listed.
func (h *home) waitFlows(n int) {
	h.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(wait); ; <-tick.C {
		_, body := h.Do(h.t, "GET", "/connections", "")
		if len(liveIDs(body)) == n {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("never %d flows: %s", n, body)
		}
	}
}

func liveIDs(body string) (ids []string) {
	var v struct{ Connections []struct{ ID string } }
	_ = json.Unmarshal([]byte(body), &v)
	for _, c := range v.Connections {
		ids = append(ids, c.ID)
	}
	return ids
}

func matches(pattern, s string) bool {
	return regexp.MustCompile(`^(?s:` + pattern + `)$`).MatchString(s)
}

// replayer holds the daemons, and counts what the tables were good for.
type replayer struct {
	servers *servers
	lab     string
	homes   map[string]*home
	used    map[int]map[string]bool // by which samples each deviation was seen
}

func newReplayer(t *testing.T) (*replayer, map[string]string) {
	dir := os.Getenv("SWITCHYARD_REFERENCE")
	if dir == "" {
		t.Skip("SWITCHYARD_REFERENCE does not name the folder of the recorded exchanges")
	}
	s := startServers(t, filepath.Join(dir, "lab"))
	config, err := os.ReadFile(filepath.Join(s.home, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r := &replayer{
		servers: s, lab: reduce(t, config), homes: make(map[string]*home), used: make(map[int]map[string]bool),
	}
	return r, readSamples(t, filepath.Join(dir, "samples"))
}

// home returns the daemon of a sample.
func (r *replayer) home(t *testing.T, name string) *home {
	t.Helper()
	config := r.lab
	for _, h := range homes {
		if matches(h.samples, name) {
			config = h.config
		}
	}
	if r.homes[config] == nil {
		r.homes[config] = startHome(t, r.servers, config)
	}
	return r.homes[config]
}

// TestReplay sends every recorded request that this version covers and compares the answers.
func TestReplay(t *testing.T) {
	r, samples := newReplayer(t)
	waiting := make(map[int]int)
	var compared []string
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		entry := -1
		for i, l := range later {
			if matches(l.samples, name) {
				if entry >= 0 {
					t.Errorf("%s is in the table of later things twice: %q and %q", name, later[entry].samples, l.samples)
				}
				entry = i
			}
		}
		if entry >= 0 {
			waiting[entry]++
			continue
		}
		compared = append(compared, name)
		r.replay(t, name, samples[name])
	}
	// The reference shows its insides to everybody; those who know the secret see the same here.
	for _, name := range compared {
		if text := samples[name]; strings.HasPrefix(name, "debug-") && !strings.Contains(text, "Authorization") {
			compared = append(compared, name+"-with-secret")
			r.replay(t, name+"-with-secret", strings.Replace(text, `"headers": {`, `"headers": {"Authorization": "Bearer s3cret"`, 1))
		}
	}
	for i, l := range later {
		if waiting[i] == 0 {
			t.Errorf("no sample is called %q", l.samples)
		}
	}
	r.checkDeviations(t, compared)
	n := 0
	for _, k := range waiting {
		n += k
	}
	t.Logf("%d exchanges compared, %d samples of what comes later", len(compared), n)
}

// checkDeviations fails for a line that nothing needs, and, where a line lists its samples one by
// one, for a sample that does not need it.
func (r *replayer) checkDeviations(t *testing.T, compared []string) {
	t.Helper()
	for i, d := range deviations {
		if len(r.used[i]) == 0 {
			t.Errorf("nothing deviates as %q, %q says (%s)", d.samples, d.what, d.why)
		}
		for _, name := range compared {
			if !strings.Contains(d.samples, ".*") && matches(d.samples, name) && !r.used[i][name] {
				t.Errorf("%s does not deviate as %q says (%s)", name, d.what, d.why)
			}
		}
	}
}

// replay brings the daemon into the state of the recording, and sends the request.
func (r *replayer) replay(t *testing.T, name, text string) {
	h := r.home(t, name)
	h.reset()
	for _, b := range before {
		if matches(b.samples, name) {
			h.dirty = true
			b.do(h)
		}
	}
	text = h.text(text)
	s := parseSample(t, name, text)
	if s.Request.Method != "GET" {
		h.dirty = true
	}
	if body, ok := s.remote(); ok {
		h.serve(s.Request.Path, body)
	}
	if strings.HasPrefix(name, "connection-") {
		_, body := h.Do(t, "GET", "/connections", "")
		s.Request.Path = strings.Replace(s.Request.Path, "00000000-0000-4000-8000-000000000000", liveIDs(body)[0], 1)
	}
	if s.Response.Messages != nil {
		h.dirty = true
		r.judge(t, s, s.compareSocket(h))
		return
	}
	a, err := s.send(h)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if s.Request.Path == "/restart" { // it ends the connections that are kept
		http.DefaultClient.CloseIdleConnections()
	}
	r.judge(t, s, s.compare(a))
	if name == "connection-delete-one" || name == "connections-delete-all" {
		h.waitFlows(0)
	}
}

// judge fails for each difference that is in no line of the table.
func (r *replayer) judge(t *testing.T, s *sample, differences []string) {
	t.Helper()
	for _, what := range differences {
		known := false
		for i, d := range deviations {
			if matches(d.samples, s.name) && matches(d.what, what) {
				known = true
				if r.used[i] == nil {
					r.used[i] = make(map[string]bool)
				}
				r.used[i][s.name] = true
			}
		}
		if !known {
			t.Errorf("%s (%s %s): %s", s.name, s.Request.Method, s.Request.Path, what)
		}
	}
	if len(differences) > 0 && s.Response.Status == 400 && strings.Contains(differences[0], "not supported yet") {
		t.Errorf("%s is refused only because this version has not got it: name it in the table of later things", s.name)
	}
}

// compareSocket opens the recorded WebSocket, does what was done then, and finds each recorded
// message among those that come.
func (s *sample) compareSocket(h *home) (differences []string) {
	h.t.Helper()
	head := http.Header{}
	for k, v := range s.Request.Headers {
		if k != "Upgrade" {
			head.Set(k, v)
		}
	}
	ws, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(h.BaseURL, "http")+s.Request.Path, head)
	if err != nil {
		return []string{"status: " + err.Error()}
	}
	defer ws.Close()
	_ = res.Body.Close()
	_ = ws.SetReadDeadline(time.Now().Add(wait))
	messages := make(chan string)
	go func() {
		defer close(messages)
		for {
			kind, b, err := ws.ReadMessage()
			if err != nil || kind != websocket.TextMessage {
				return
			}
			messages <- string(b)
		}
	}()
	logs := strings.HasPrefix(s.Request.Path, "/logs")
	provoke := time.NewTicker(50 * time.Millisecond)
	defer provoke.Stop()
	for i := 0; i < len(s.Response.Messages); {
		select {
		case m, ok := <-messages:
			if !ok {
				return append(differences, "messages: ended before "+s.Response.Messages[i].Text)
			}
			if logs && logLine(m) != logLine(s.Response.Messages[i].Text) {
				continue // another event
			}
			differences = append(differences, compareMessage(s.Response.Messages[i].Text, m)...)
			i++
		case <-provoke.C:
			if logs { // it may follow the log only a moment after the upgrade
				h.connect("17890", "direct.test:18093", "")
				h.refuse()
				h.flows[len(h.flows)-2].Close()
			}
		}
	}
	go func() { // let the reader end
		for range messages {
		}
	}()
	return differences
}

var source = regexp.MustCompile(`127\.0\.0\.1:[0-9]+ -->`)

// logLine is what clients read of an event: not the client's port, nor why a dial failed, nor the
// words for debugging.
func logLine(text string) string {
	var m struct{ Type, Payload, Level, Message string }
	if json.Unmarshal([]byte(text), &m) != nil {
		return text
	}
	level := cmp.Or(m.Type, m.Level)
	if level == "debug" {
		return level
	}
	line, _, _ := strings.Cut(cmp.Or(m.Payload, m.Message), "error:")
	return level + " " + source.ReplaceAllString(line, "SOURCE -->")
}

func compareMessage(want, got string) (differences []string) {
	var w, g any
	if json.Unmarshal([]byte(want), &w) != nil || json.Unmarshal([]byte(got), &g) != nil || !strings.HasSuffix(got, "\n") {
		return []string{"message: " + got}
	}
	compareJSON("frame", w, g, func(where, format string, _ ...any) {
		differences = append(differences, where+": "+format)
	})
	return differences
}
