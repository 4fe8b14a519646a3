package upstream

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

func TestRCodeAnswersAtOnce(t *testing.T) {
	for code := range uint8(6) {
		u := New(&nameserver.Server{Scheme: nameserver.RCode, RCode: code}, Config{})
		query := question(t, "a.example", dns.TypeAAAA)
		resp, err := u.Exchange(patient(t), query)
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.Answers(query, resp); err != nil {
			t.Error(err)
		}
		m := unpacked(t, resp, "a.example", dns.TypeAAAA)
		if m.Rcode != int(code) || m.RecursionAvailable || !m.RecursionDesired || len(m.Answer)+len(m.Ns)+len(m.Extra) != 0 {
			t.Errorf("code %d:\n%s", code, m)
		}
		if _, err := u.Exchange(patient(t), query[:20]); err == nil {
			t.Error("half a question was answered")
		}
		u.Close()
	}
}
