package impl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/logs"
)

// names is a relay that has nothing but DNS.
type names struct {
	Relay
	query  func(name string, kind uint16) ([]byte, error)
	answer func(message []byte) ([]byte, error)
	flush  error
}

func (n *names) QueryDNS(_ context.Context, name string, kind uint16) ([]byte, error) {
	return n.query(name, kind)
}

func (n *names) AnswerDNS(_ context.Context, message []byte) ([]byte, error) {
	return n.answer(message)
}
func (n *names) FlushDNS() error    { return n.flush }
func (n *names) FlushFakeIP() error { return n.flush }

func testHub() *logs.Hub { return logs.NewHub(io.Discard, slog.LevelError) }

// start serves the API of n until the test ends, and returns the controller and its URL.
func start(t *testing.T, n *names, settings config.Controller) (*Controller, string) {
	t.Helper()
	c := New(Options{Relay: n, Hub: testHub()})
	settings.Addr = "127.0.0.1:0"
	change, err := c.Prepare(nil, &config.Config{Controller: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	change.Commit()
	for _, l := range c.live {
		return c, "http://" + l.Addr().String()
	}
	panic("no listener")
}

// ask sends a request; a response without a body has none.
func ask(t *testing.T, method, url, contentType, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// response is a message with records in the spelling of zone files, by section.
func response(t testing.TB, sections ...[]string) []byte {
	t.Helper()
	m := new(miekg.Msg)
	m.SetQuestion("example.test.", miekg.TypeA)
	m.Response, m.RecursionAvailable = true, true
	m.SetEdns0(1232, false)
	for i, to := range []*[]miekg.RR{&m.Answer, &m.Ns, &m.Extra} {
		for _, text := range sections[min(i, len(sections)):min(i+1, len(sections))] {
			for _, line := range text {
				rr, err := miekg.NewRR(line)
				if err != nil {
					t.Fatal(err)
				}
				*to = append(*to, rr)
			}
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestQueryDNSRecords reads each record as the API spells it.
func TestQueryDNSRecords(t *testing.T) {
	n := &names{}
	_, url := start(t, n, config.Controller{})
	f := func(line, want string) {
		t.Helper()
		n.query = func(string, uint16) ([]byte, error) { return response(t, []string{line}), nil }
		_, body := ask(t, "GET", url+"/dns/query?name=example.test", "", "")
		var got struct {
			Answer []struct{ Data, Name string }
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Answer) != 1 || got.Answer[0].Data != want {
			t.Fatalf("%s: %s; want %s", line, body, want)
		}
	}
	f("a.test. 60 IN A 192.0.2.7", "192.0.2.7")
	f("a.test. 60 IN AAAA ::1", "::1")
	f(`a.test. 60 IN TXT "hello" "v=spf1 "`, `"hello" "v=spf1 "`)
	f("a.test. 60 IN MX 10 mx.test.", "10 mx.test.")
	f("a.test. 60 IN SRV 1 2 443 srv.test.", "1 2 443 srv.test.")
	f(`a.test. 60 IN HTTPS 1 . alpn="h2"`, `1 . alpn="h2"`)
	f("a.test. 60 IN SOA ns. admin. 1 2 3 4 5", "ns. admin. 1 2 3 4 5")
	f("a.test. 60 IN CNAME b.test.", "b.test.")
	f("a.test. 60 IN NULL \\# 3 610962", "a\tb")
	f(`\208\191.test. 60 IN TYPE65400 \# 2 0102`, `\# 2 0102`)
}

// TestQueryDNSSections has the keys that clients read, and no others.
func TestQueryDNSSections(t *testing.T) {
	n := &names{}
	_, url := start(t, n, config.Controller{})
	f := func(message []byte, want string) {
		t.Helper()
		n.query = func(string, uint16) ([]byte, error) { return message, nil }
		res, body := ask(t, "GET", url+"/dns/query?name=example.test", "", "")
		var got, wanted any
		if json.Unmarshal([]byte(body), &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil ||
			res.StatusCode != 200 || !reflect.DeepEqual(got, wanted) {
			t.Fatalf("%d %s; want %s", res.StatusCode, body, want)
		}
	}
	const head = `"AD":false,"CD":false,"Question":[{"Name":"example.test.","Qtype":1,"Qclass":1}],"RA":true,"RD":true,"TC":false`
	// EDNS is in the message and is no record.
	f(response(t), `{`+head+`,"Status":0}`)
	f(response(t, []string{"example.test. 57 IN A 192.0.2.7"}, []string{"test. 30 IN NS ns.test."}, []string{"ns.test. 60 IN A 192.0.2.8"}),
		`{`+head+`,"Status":0,"Answer":[{"TTL":57,"data":"192.0.2.7","name":"example.test.","type":1}],
		"Authority":[{"TTL":30,"data":"ns.test.","name":"test.","type":2}],
		"Additional":[{"TTL":60,"data":"192.0.2.8","name":"ns.test.","type":1}]}`)
	// There is no such name: an answer too.
	missing := response(t, nil, []string{"test. 30 IN SOA ns.test. admin.test. 1 2 3 4 5"})
	missing[3] |= wire.NameError
	f(missing, `{`+head+`,"Status":3,"Authority":[{"TTL":30,"data":"ns.test. admin.test. 1 2 3 4 5","name":"test.","type":6}]}`)
}

// TestQueryDNSQuestion takes names as they are, and types by their mnemonics alone.
func TestQueryDNSQuestion(t *testing.T) {
	n := &names{}
	_, url := start(t, n, config.Controller{})
	f := func(query, want string) {
		t.Helper()
		asked := ""
		n.query = func(name string, kind uint16) ([]byte, error) {
			asked = fmt.Sprintf("%q %d", name, kind)
			return response(t), nil
		}
		res, body := ask(t, "GET", url+"/dns/query"+query, "", "")
		if asked != want || (want == "") != (res.StatusCode == 400) {
			t.Fatalf("%s asks %s: %s; want %s", query, asked, body, want)
		}
	}
	f("", `"." 1`)
	f("?name=&type=", `"." 1`)
	f("?name=Example.test.", `"Example.test." 1`)
	f("?name=%D0%BF.test&type=AAAA", `"п.test" 28`)
	f("?name=%ff%00&type=ANY", `"\xff\x00" 255`)
	f("?name=a+b&type=HTTPS", `"a b" 65`)
	f("?name="+strings.Repeat("a", 1024), `"`+strings.Repeat("a", 1024)+`" 1`)
	f("?name="+strings.Repeat("a", 1025), "")
	for _, kind := range []string{"a", "1", "FOO", "TYPE1", "None", "Reserved", "AXFR", "IXFR", "OPT", "A%00"} {
		f("?name=a.test&type="+kind, "")
	}
}

// TestQueryDNSFails says why there is no answer, in words and for programs.
func TestQueryDNSFails(t *testing.T) {
	n := &names{}
	_, url := start(t, n, config.Controller{})
	f := func(err error, want string) {
		t.Helper()
		n.query = func(string, uint16) ([]byte, error) { return []byte("no message"), err }
		res, body := ask(t, "GET", url+"/dns/query?name=a.test", "", "")
		if res.StatusCode != 500 || body != want+"\n" {
			t.Fatalf("%v: %d %s; want %s", err, res.StatusCode, body, want)
		}
	}
	f(dns.ErrDisabled, `{"code":"dns_disabled","message":"DNS section is disabled"}`)
	f(fmt.Errorf("all DNS requests failed, first error: %w", &dns.CodeError{Code: wire.ServerFailure}),
		`{"code":"resolve_failed","message":"all DNS requests failed, first error: server failure: SERVFAIL"}`)
	f(context.DeadlineExceeded, `{"code":"resolve_failed","message":"context deadline exceeded"}`)
	f(context.Canceled, `{"code":"resolve_failed","message":"the daemon stops"}`)
	f(wire.ErrName, `{"code":"query_invalid","message":"`+wire.ErrName.Error()+`"}`)
	f(nil, `{"code":"resolve_failed","message":"bad header extra count: dns: overflow unpacking uint16"}`)
}

func TestFlush(t *testing.T) {
	n := &names{}
	_, url := start(t, n, config.Controller{})
	f := func(path string, want int) {
		t.Helper()
		if res, body := ask(t, "POST", url+path, "", ""); res.StatusCode != want {
			t.Fatalf("%s: %d %s; want %d", path, res.StatusCode, body, want)
		}
	}
	f("/cache/dns/flush", 204)
	f("/cache/fakeip/flush", 204)
	n.flush = errors.New("disk full")
	f("/cache/dns/flush", 500)
	f("/cache/fakeip/flush", 500)
}
