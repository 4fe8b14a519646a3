package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// household is a daemon that has some of everything, as clients find it.
type household struct {
	*testkit.Daemon
	well string // where delay tests succeed
}

// everyRule are rules of all kinds that the typed client knows.
const everyRule = `DOMAIN,a.test,REJECT
DOMAIN-SUFFIX,b.test,REJECT
DOMAIN-KEYWORD,cc.test,REJECT
DOMAIN-REGEX,^d\.test$,REJECT
GEOSITE,cn,REJECT
GEOIP,cn,REJECT,no-resolve
SRC-GEOIP,cn,REJECT
IP-ASN,1,REJECT,no-resolve
SRC-IP-ASN,1,REJECT
IP-CIDR,192.0.2.0/24,REJECT,no-resolve
SRC-IP-CIDR,192.0.2.0/24,REJECT
IP-SUFFIX,192.0.2.1/32,REJECT,no-resolve
SRC-IP-SUFFIX,192.0.2.1/32,REJECT
SRC-PORT,1,REJECT
DST-PORT,1,REJECT
IN-PORT,1,REJECT
IN-USER,nobody,REJECT
IN-NAME,nobody,REJECT
IN-TYPE,SOCKS4,Outer
PROCESS-NAME,nobody,REJECT
PROCESS-PATH,/nobody,REJECT
PROCESS-NAME-REGEX,^nobody$,REJECT
PROCESS-PATH-REGEX,^/nobody$,REJECT
RULE-SET,sites,REJECT
RULE-SET,ranges,REJECT,no-resolve
RULE-SET,lines,REJECT
DSCP,4,REJECT
UID,4242,REJECT
SUB-RULE,(DST-PORT,2),inner
AND,((NETWORK,tcp),(DST-PORT,3)),REJECT
OR,((DST-PORT,4),(DST-PORT,5)),REJECT
NOT,((DST-PORT,1-65535)),REJECT
NETWORK,udp,plain
MATCH,Outer`

func newHousehold(t *testing.T, more string) *household {
	t.Helper()
	h := &household{well: wellOrigin(t)}
	serve := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Subscription-Userinfo", "upload=1; download=2; total=3; expire=4000000000")
		switch r.URL.Path {
		case "/nodes":
			_, _ = io.WriteString(w, "proxies: [{name: p1, type: direct}, {name: 'p/2 🇩🇪', type: direct}]\n")
		case "/lines":
			_, _ = io.WriteString(w, "DOMAIN,x.test\nDOMAIN,y.test\n")
		}
	}))
	t.Cleanup(serve.Close)
	h.Daemon = testkit.Start(t, fmt.Sprintf(`%[3]s%[4]smixed-port: MIXED
mode: rule
external-controller-unix: ctl.sock
proxies:
- {name: plain, type: direct}
- {name: 'a/b 🇯🇵', type: direct}
- {name: dead, type: http, server: 127.0.0.1, port: 1}
- {name: no, type: reject}
- {name: questions, type: dns}
proxy-providers:
  remote: {type: http, url: '%[1]s/nodes', health-check: {enable: true, url: '%[2]s', interval: 3600}}
  inline: {type: inline, payload: [{name: i1, type: direct}]}
proxy-groups:
- {name: Outer, type: select, proxies: [Inner, plain, dead]}
- {name: Inner, type: select, proxies: ['a/b 🇯🇵', plain]}
- {name: Auto, type: url-test, proxies: [plain, 'a/b 🇯🇵', dead], url: '%[2]s', interval: 3600}
- {name: First, type: fallback, proxies: [dead, plain], url: '%[2]s', interval: 3600}
- {name: Turns, type: load-balance, proxies: [plain, 'a/b 🇯🇵'], url: '%[2]s', interval: 3600}
- {name: Used, type: select, use: [remote, inline]}
- {name: Chain, type: relay, proxies: [plain, 'a/b 🇯🇵']}
- {name: Hidden, type: select, proxies: [plain], hidden: true, icon: 'https://x.test/i.png'}
rule-providers:
  sites: {type: inline, behavior: domain, payload: [z.test]}
  ranges: {type: inline, behavior: ipcidr, payload: [198.51.100.0/24]}
  lines: {type: http, behavior: classical, format: text, url: '%[1]s/lines'}
sub-rules: {inner: ['MATCH,REJECT']}
`, serve.URL, h.well, nowhere, more)+ruleLines("rules", everyRule))
	for deadline := time.Now().Add(10 * time.Second); !h.isSettled(t); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to rest:\n%s", h.Log())
		}
	}
	return h
}

// isSettled says whether all lists are there, all first tests are done, and no connection of them is left.
func (h *household) isSettled(t *testing.T) bool {
	t.Helper()
	isTested := func(path string) bool {
		return len(decoded[struct{ History []struct{} }](t, h.Daemon, path).History) > 0
	}
	type listed struct {
		RuleCount int
		Proxies   []struct{ History []struct{} }
	}
	remote := decoded[listed](t, h.Daemon, "/providers/proxies/remote").Proxies
	return decoded[struct{ Providers map[string]listed }](t, h.Daemon, "/providers/rules").Providers["lines"].RuleCount == 2 &&
		len(remote) == 2 && len(remote[0].History) > 0 && len(remote[1].History) > 0 &&
		isTested("/proxies/plain") && isTested("/proxies/dead") && isTested("/proxies/"+url.PathEscape("a/b 🇯🇵")) &&
		len(decoded[struct{ Connections []struct{} }](t, h.Daemon, "/connections").Connections) == 0
}

// dial opens a WebSocket of the API.
func (h *household) dial(t *testing.T, target string, fields http.Header) (*websocket.Conn, *http.Response, error) {
	ws, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(h.BaseURL, "http")+target, fields)
	if err == nil {
		t.Cleanup(func() { _ = ws.Close() })
		_ = ws.NetConn().SetReadDeadline(time.Now().Add(20 * time.Second))
	}
	return ws, res, err
}

// next is the next message of a WebSocket.
func next(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	kind, b, err := ws.ReadMessage()
	if err != nil || kind != websocket.TextMessage {
		t.Fatalf("kind %d, %v", kind, err)
	}
	return string(b)
}

// decoded reads an answer into v.
func decoded[T any](t *testing.T, d *testkit.Daemon, path string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(mustDo(t, d, "GET", path, "", 200)), &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}
