package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
)

// strict is what a typed client wants of a value: it fails the whole answer for one that is absent, of
// another type or out of range. Members that it does not know are skipped.
type strict func(at string, v any) []string

func wrong(at string, v any, want string) []string {
	return []string{fmt.Sprintf("%s: %v, want %s", at, v, want)}
}

func aString(at string, v any) []string {
	if _, ok := v.(string); !ok {
		return wrong(at, v, "a string")
	}
	return nil
}

func aBool(at string, v any) []string {
	if _, ok := v.(bool); !ok {
		return wrong(at, v, "a boolean")
	}
	return nil
}

// between is a whole number, written as one.
func between(low, high float64) strict {
	return func(at string, v any) []string {
		n, ok := v.(json.Number)
		f, err := n.Float64()
		if !ok || err != nil || f < low || f > high || strings.ContainsAny(n.String(), ".eE") {
			return wrong(at, v, fmt.Sprintf("a whole number from %v to %v", low, high))
		}
		return nil
	}
}

var (
	aU8       = between(0, math.MaxUint8)
	aU16      = between(0, math.MaxUint16)
	aU32      = between(0, math.MaxUint32)
	aU64      = between(0, math.MaxUint64)
	anI8      = between(math.MinInt8, math.MaxInt8)
	anInteger = between(math.MinInt64, math.MaxInt64)
)

func oneOf(words ...string) strict {
	return func(at string, v any) []string {
		if s, ok := v.(string); !ok || !slices.Contains(words, s) {
			return wrong(at, v, "one of "+strings.Join(words, ", "))
		}
		return nil
	}
}

func list(of strict) strict {
	return func(at string, v any) (bad []string) {
		items, ok := v.([]any)
		if !ok {
			return wrong(at, v, "a list")
		}
		for i, item := range items {
			bad = append(bad, of(fmt.Sprintf("%s[%d]", at, i), item)...)
		}
		return bad
	}
}

func mapOf(of strict) strict {
	return func(at string, v any) (bad []string) {
		members, ok := v.(map[string]any)
		if !ok {
			return wrong(at, v, "a map")
		}
		for key, member := range members {
			bad = append(bad, of(at+"."+key, member)...)
		}
		return bad
	}
}

// maybe is also satisfied by null and by nothing.
func maybe(of strict) strict {
	return func(at string, v any) []string {
		if v == nil {
			return nil
		}
		return of(at, v)
	}
}

// members is a map with these members; several names may share a line, separated by spaces.
type members map[string]strict

func (m members) check(at string, v any) (bad []string) {
	got, ok := v.(map[string]any)
	if !ok {
		return wrong(at, v, "a map")
	}
	for names, of := range m {
		for name := range strings.FieldsSeq(names) {
			bad = append(bad, of(at+"."+name, got[name])...) // nil where it is absent
		}
	}
	return bad
}

// reads fails the test where a strict client could not read an answer.
func (s strict) reads(t *testing.T, what, answer string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(answer)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Errorf("%s: %v: %.200s", what, err, answer)
		return
	}
	for _, problem := range s(what, v) {
		t.Error(problem)
	}
}

// What clash-verge's typed client requires.
var (
	strictProxyTypes = strings.Fields(`Direct Reject RejectDrop Compatible Pass Dns Shadowsocks ShadowsocksR Snell Socks5 Http Vmess Vless
		Trojan Hysteria Hysteria2 WireGuard Tuic Ssh Mieru Masque AnyTLS Relay Sudoku Selector Fallback URLTest LoadBalance`)
	strictHistory = strict(list(members{"time": aString, "delay": aU16}.check))
	strictProxy   = strict(members{
		"name interface dialer-proxy": aString, "type": oneOf(strictProxyTypes...),
		"alive udp uot xudp tfo mptcp smux": aBool, "routing-mark": anI8, "history": strictHistory,
		"extra": mapOf(members{"alive": aBool, "history": strictHistory}.check),
		"all":   maybe(list(aString)), "now fixed icon testUrl expectedStatus id": maybe(aString), "hidden": maybe(aBool),
	}.check)
	strictProxies       = strict(members{"proxies": mapOf(strictProxy)}.check)
	strictGroups        = strict(members{"proxies": list(strictProxy)}.check)
	strictProxyProvider = strict(members{
		"name testUrl expectedStatus": aString, "type": oneOf("Proxy", "Rule"), "vehicleType": oneOf("File", "HTTP", "Compatible", "Inline"),
		"proxies": list(strictProxy), "updatedAt": maybe(aString),
		"subscriptionInfo": maybe(members{"Upload Download Total Expire": anInteger}.check),
	}.check)
	strictProxyProviders = strict(members{"providers": mapOf(strictProxyProvider)}.check)
	strictRules          = strict(members{"rules": list(members{
		"type": oneOf(strings.Fields(`Domain DomainSuffix DomainKeyword DomainRegex GeoSite GeoIP SrcGeoIP IPASN SrcIPASN IPCIDR SrcIPCIDR
			IPSuffix SrcIPSuffix SrcPort DstPort InPort InUser InName InType ProcessName ProcessPath ProcessNameRegex ProcessPathRegex Match
			RuleSet Network DSCP Uid SubRules AND OR NOT`)...),
		"payload proxy": aString, "size": anInteger,
	}.check)}.check)
	strictRuleProviders = strict(members{"providers": mapOf(members{
		"name type updatedAt vehicleType": aString, "behavior": oneOf("Domain", "IPCIDR", "Classical"),
		"format":    oneOf("YamlRule", "TextRule", "MrsRule", ""), // empty for inline ones, as in the family
		"ruleCount": aU32,
	}.check)}.check)
	strictConnections = strict(members{
		"downloadTotal uploadTotal memory": aU64,
		"connections": list(members{
			"id start rule rulePayload": aString, "upload download": aU64, "chains": list(aString),
			"metadata": members{
				"network": oneOf("tcp", "udp", "all"),
				"type": oneOf(strings.Fields(`HTTP HTTPS Socks4 Socks5 ShadowSocks Vmess Vless Redir TProxy Trojan Tunnel Tun Tuic Hysteria2
					AnyTLS Inner`)...),
				`sourceIP destinationIP sourceIPASN destinationIPASN sourcePort destinationPort inboundIP inboundPort inboundName
				inboundUser host process processPath specialProxy specialRules remoteDestination sniffHost`: aString,
				"sourceGeoIP destinationGeoIP": maybe(list(aString)),
				"dnsMode":                      oneOf("normal", "fake-ip", "redir-host", "hosts"), "uid": aU32, "dscp": aU8,
			}.check,
		}.check),
	}.check)
	strictConfigs = strict(members{
		"port socks-port redir-port tproxy-port mixed-port": aU16,
		"tun": members{
			"enable auto-route auto-detect-interface": aBool, "device": aString, "stack": oneOf("Mixed", "gVisor", "System"),
			"dns-hijack": list(aString), "file-descriptor": aU32, "mtu": maybe(aU32),
		}.check,
		"tuic-server": members{"enable": aBool, "listen certificate private-key ech-key": aString}.check,
		`ss-config vmess-config bind-address interface-name geodata-loader geosite-matcher global-client-fingerprint global-ua`: aString,
		"authentication skip-auth-prefixes lan-allowed-ips lan-disallowed-ips":                                                  maybe(list(aString)),
		`allow-lan inbound-tfo inbound-mptcp unified-delay ipv6 geo-auto-update geodata-mode tcp-concurrent sniffing etag-support
		disable-keep-alive`: aBool,
		"mode": oneOf("rule", "global", "direct"), "log-level": oneOf("debug", "info", "warning", "error", "silent"),
		"find-process-mode": oneOf("strict", "always", "off"),
		"routing-mark geo-update-interval keep-alive-interval keep-alive-idle": anInteger,
		"geox-url": members{"geo-ip mmdb asn geo-site": aString}.check,
	}.check)
	strictVersion = strict(members{"meta": aBool, "version": aString}.check)
	strictTraffic = strict(members{"up down": aU64}.check)
	strictMemory  = strict(members{"inuse oslimit": aU32}.check)
	strictDelay   = strict(members{"delay": between(1, math.MaxUint16)}.check)
	strictDelays  = strict(mapOf(between(1, math.MaxUint32)))
	strictFailure = strict(members{"message": aString}.check)
)

// TestStrictClient reads all answers as clash-verge's typed client does, over the Unix socket, which
// asks for no secret, while all kinds of connections are open.
func TestStrictClient(t *testing.T) {
	h := newHousehold(t, "secret: "+hostileSecret+"\nfind-process-mode: always\n")
	to := echo(t)
	_ = connect(t, h.Mixed, to)
	five := knock(t, h.Mixed, "\x05\x01\x00", 2)
	speak(t, five, socks5To("\x05\x01\x00\x01", to), 10)
	four := knock(t, h.Mixed, "", 0)
	speak(t, four, socks4To(to), 8)
	held := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(held) })
	web, err := net.Dial("tcp", h.Mixed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Close() })
	_, _ = fmt.Fprintf(web, "GET %s/ HTTP/1.1\r\nHost: x\r\n\r\n", slow.URL)
	udp := associate(t, h.Mixed)
	_, _ = udp.Write(append(socks.AppendDatagram(nil, flow.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: 9}), "x"...))

	socket := filepath.Join(h.Home, "ctl.sock")
	verge := &http.Client{
		Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }},
		Timeout:   10 * time.Second,
	}
	t.Cleanup(verge.CloseIdleConnections)
	ask := func(method, path, body string, status int) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := verge.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status {
			t.Errorf("%s %s: %d %s, %v", method, path, res.StatusCode, b, err)
		}
		return string(b)
	}
	read := func(s strict, path string) string {
		t.Helper()
		answer := ask("GET", path, "", 200)
		s.reads(t, path, answer)
		return answer
	}
	var seen struct {
		Connections []struct {
			Metadata struct{ Network, Type string }
		}
	}
	kinds := []string{"tcp HTTP", "tcp HTTPS", "tcp Socks4", "tcp Socks5", "udp Socks5"}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err := json.Unmarshal([]byte(ask("GET", "/connections", "", 200)), &seen); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range seen.Connections {
			got = append(got, c.Metadata.Network+" "+c.Metadata.Type)
		}
		slices.Sort(got)
		if slices.Equal(got, kinds) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q; want %q", got, kinds)
		}
	}
	test := "?timeout=5000&url=" + url.QueryEscape(h.well)
	read(strictVersion, "/version")
	read(strictDelay, "/proxies/plain/delay"+test)
	read(strictDelay, "/providers/proxies/remote/"+url.PathEscape("p/2 🇩🇪")+"/healthcheck"+test)
	read(strictDelays, "/group/Auto/delay"+test)
	ask("GET", "/providers/proxies/remote/healthcheck", "", 204)
	strictFailure.reads(t, "a delay that failed", ask("GET", "/proxies/dead/delay"+test, "", 503))
	strictFailure.reads(t, "no node", ask("GET", "/proxies/nobody", "", 404))
	strictFailure.reads(t, "a bad body", ask("PATCH", "/configs", `{"mode":"x"}`, 400))
	strictFailure.reads(t, "a bad file", ask("PUT", "/configs?force=true", `{"path":"/etc/passwd"}`, 400))
	read(strictProxies, "/proxies")
	read(strictProxy, "/proxies/Auto")
	read(strictGroups, "/group")
	read(strictProxy, "/group/Outer")
	read(strictProxyProviders, "/providers/proxies")
	read(strictProxyProvider, "/providers/proxies/remote")
	read(strictRules, "/rules")
	read(strictRuleProviders, "/providers/rules")
	read(strictConnections, "/connections")
	read(strictConfigs, "/configs")
	if answer := ask("PUT", "/configs?force=true", fmt.Sprintf(`{"path":%q}`, h.File), 204); answer != "" {
		t.Error(answer)
	}
	ask("PATCH", "/configs", `{"tun":{"enable":false}}`, 204)
	read(strictConfigs, "/configs")

	ws := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return net.Dial("unix", socket) }}
	for path, s := range map[string]strict{"/traffic": strictTraffic, "/memory": strictMemory, "/connections": strictConnections} {
		c, res, err := ws.DialContext(t.Context(), "ws://clash-verge"+path+"?token=", nil)
		if err != nil {
			t.Fatalf("%s: %v, %v", path, res, err)
		}
		_ = c.NetConn().SetReadDeadline(time.Now().Add(10 * time.Second))
		s.reads(t, path, next(t, c))
		_ = c.Close()
	}
}

// knock opens a connection to a proxy and sends a greeting that has an answer of n bytes.
func knock(t *testing.T, proxy, greeting string, n int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	speak(t, c, greeting, n)
	return c
}

func speak(t *testing.T, c net.Conn, words string, n int) {
	t.Helper()
	_, _ = io.WriteString(c, words)
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Fatalf("%q: %v", words, err)
	}
}

func socks5To(head, addr string) string {
	a := netip.MustParseAddrPort(addr)
	ip := a.Addr().As4()
	return head + string(ip[:]) + string([]byte{byte(a.Port() >> 8), byte(a.Port())})
}

func socks4To(addr string) string {
	a := netip.MustParseAddrPort(addr)
	ip := a.Addr().As4()
	return "\x04\x01" + string([]byte{byte(a.Port() >> 8), byte(a.Port())}) + string(ip[:]) + "u\x00"
}
