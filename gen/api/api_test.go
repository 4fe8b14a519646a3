package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func ptr[T any](v T) *T { return &v }

func sampleProxy() Proxy {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return Proxy{
		Name: `日本 "01" <&>`, Type: AdapterTypeURLTest, Alive: true,
		History: []Delay{{Time: at, Delay: 42}, {Time: at, Delay: 0}},
		Extra:   map[string]TestState{"https://example.test/?a=1&b": {Alive: true, History: []Delay{}}},
		UDP:     true, RoutingMark: 4294967295, All: []string{"a", "b"},
		Now: ptr("a"), Fixed: ptr(""), Hidden: ptr(false),
	}
}

func sampleConnections(n int) *Connections {
	c := &Connections{DownloadTotal: 1 << 40, UploadTotal: 7, Memory: 1}
	for range n {
		c.Connections = append(c.Connections, Connection{
			ID:    "0f1e2d3c-4b5a-4687-9788-990011223344",
			Start: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
			Metadata: Metadata{
				Network: NetworkTCP, Type: InboundTypeHTTPS, SourceIP: "127.0.0.1",
				SourceGeoIP: []string{}, DestinationGeoIP: nil, DNSMode: DNSModeFakeIP, UID: 4294967295,
			},
			Chains: []string{"x", "y"}, ProviderChains: []string{"", ""}, Rule: "Match",
		})
	}
	return c
}

// TestAppendJSON holds the generated encoders against encoding/json.
func TestAppendJSON(t *testing.T) {
	f := func(v interface{ AppendJSON([]byte) []byte }) {
		t.Helper()
		got := v.AppendJSON([]byte("x"))[1:]
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var g, w any
		if err := json.Unmarshal(got, &g); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		if err := json.Unmarshal(want, &w); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(g, w) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
	f(ptr(sampleProxy()))
	f(sampleConnections(3))
	f(&ProxyMap{Proxies: map[string]Proxy{"p": sampleProxy(), "q": sampleProxy()}})
	f(&Config{
		Tun: Tun{DNSHijack: []string{"a"}}, LanAllowedIps: []string{"::/0"}, Authentication: []string{},
	})
	f(&Traffic{Up: 1, Down: -1, UpTotal: 1 << 62, DownTotal: 0})
	f(&Error{Message: "x", Code: ErrorCodeApplyFailed, Step: ptr("bind")})
	f(&Error{Message: "x", Diagnostics: []Diagnostic{{Line: 1, Hint: ptr("h")}}})
	f(&ConfigPatch{Port: ptr(1), Tun: &TunPatch{Enable: ptr(true)}, LanAllowedIps: &[]string{"a"}})
	f(&ConfigPatch{})
}

// TestNilSlices shows where the encoders keep to the contract and encoding/json would not.
func TestNilSlices(t *testing.T) {
	f := func(v interface{ AppendJSON([]byte) []byte }, want ...string) {
		t.Helper()
		got := string(v.AppendJSON(nil))
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Fatalf("%s lacks %s", got, w)
			}
		}
	}
	f(&Connections{}, `"connections":[]`)
	f(&Connection{}, `"chains":[]`, `"sourceGeoIP":null`, `"destinationGeoIP":null`)
	f(&Proxy{}, `"history":[]`, `"extra":{}`)
	f(&Config{}, `"dns-hijack":[]`, `"authentication":null`, `"lan-allowed-ips":null`)
}

func TestValidate(t *testing.T) {
	f := func(v interface{ Validate() error }, want string) {
		t.Helper()
		got := ""
		if err := v.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Fatalf("Validate(%+v) = %q; want %q", v, got, want)
		}
	}
	f(&ConfigPatch{}, "")
	f(&ConfigPatch{Port: ptr(65535), Mode: ptr("RULE"), LogLevel: ptr("Debug")}, "")
	f(&ConfigPatch{Port: ptr(65536)}, "port: too large")
	f(&ConfigPatch{MixedPort: ptr(-1)}, "mixed-port: too small")
	f(&ConfigPatch{Mode: ptr("script")}, "mode: unknown value")
	f(&ConfigPatch{LogLevel: ptr("warn")}, "log-level: unknown value")
	f(&ConfigPatch{InterfaceName: ptr(strings.Repeat("я", 256))}, "interface-name: too long")
	// Limits of what is inside count as well.
	f(&ConfigPatch{Tun: &TunPatch{Stack: ptr("GVISOR")}}, "")
	f(&ConfigPatch{Tun: &TunPatch{Stack: ptr("lwip")}}, "stack: unknown value")
	// A reference to an enum.
	f(&LogEvent{Type: "fatal"}, "LogType: unknown value")
}

func TestCheckRequired(t *testing.T) {
	f := func(v interface{ CheckRequired([]byte) error }, raw, want string) {
		t.Helper()
		got := ""
		if err := v.CheckRequired([]byte(raw)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Fatalf("CheckRequired(%s) = %q; want %q", raw, got, want)
		}
	}
	f(&LogEvent{}, `{"type":"info","payload":""}`, "")
	f(&LogEvent{}, `{"type":"info"}`, "payload: missing")
	f(&LogEvent{}, `{"type":null,"payload":""}`, "type: missing")
	f(&StructuredLog{}, `{"time":"","level":"","message":"","fields":[{"key":"k"}]}`,
		"[0].value: missing")
	f(&TestState{}, `{"alive":true,"history":[]}`, "")
	f(&ConfigPatch{}, `{"tun":null,"port":null}`, "")
}
