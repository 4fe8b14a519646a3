package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func unpack(t testing.TB, p []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(p); err != nil {
		t.Fatalf("%x: %v", p, err)
	}
	return m
}

func rrs(t testing.TB, lines ...string) (list []dns.RR) {
	t.Helper()
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rr)
	}
	return list
}

func ask(t testing.TB, name string, kind uint16, edns bool) (*wire.Query, *dns.Msg) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, kind)
	if edns {
		m.SetEdns0(4096, true)
	}
	q := new(wire.Query)
	if err := q.Parse(pack(t, m)); err != nil {
		t.Fatal(err)
	}
	return q, m
}

func TestParse(t *testing.T) {
	q, m := ask(t, "ExAmple.TEST.", dns.TypeAAAA, true)
	host, ok := q.Host()
	if string(host) != "example.test" || !ok || q.Type != dns.TypeAAAA || q.Class != 1 || q.ID != m.Id {
		t.Errorf("%q %v %d %d %d", host, ok, q.Type, q.Class, q.ID)
	}
	if !q.EDNS || !q.DO || q.Size != wire.UDPSize || q.Flags&wire.FlagRD == 0 {
		t.Errorf("EDNS %v %v %d, flags %x", q.EDNS, q.DO, q.Size, q.Flags)
	}
	other, _ := ask(t, "exAmple.test.", dns.TypeAAAA, true)
	if !bytes.Equal(q.Key(), other.Key()) {
		t.Error("the case of a name makes another key")
	}
	for _, k := range []struct {
		name string
		kind uint16
		edns bool
	}{{"example.test.", dns.TypeA, true}, {"example.test.", dns.TypeAAAA, false}, {"xample.test.", dns.TypeAAAA, true}} {
		other, _ := ask(t, k.name, k.kind, k.edns)
		if bytes.Equal(q.Key(), other.Key()) {
			t.Errorf("%v has the same key", k)
		}
	}
	if q, _ := ask(t, ".", dns.TypeNS, false); len(q.Key()) != 6 {
		t.Errorf("the root's key is %x", q.Key())
	} else if _, ok := q.Host(); ok {
		t.Error("the root is a host")
	}
	for name, want := range map[string]string{`a\.b.test.`: "a\x00b.test", `my\032printer.test.`: "my printer.test", `b\195\188ch.test.`: "büch.test"} {
		q, _ := ask(t, name, dns.TypeA, false)
		if host, plain := q.Host(); plain || string(host) != want {
			t.Errorf("%s is the host %q, %v", name, host, plain)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := pack(t, new(dns.Msg).SetQuestion("a.test.", dns.TypeA))
	edit := func(f func(p []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, c := range map[string]struct {
		p    []byte
		want error
	}{
		"short":     {good[:11], wire.ErrIgnore},
		"response":  {edit(func(p []byte) []byte { p[2] |= 0x80; return p }), wire.ErrIgnore},
		"opcode":    {edit(func(p []byte) []byte { p[2] |= 4 << 3; return p }), wire.ErrOpcode},
		"none":      {edit(func(p []byte) []byte { p[5] = 0; return p }), wire.ErrFormat},
		"two":       {edit(func(p []byte) []byte { p[5] = 2; return p }), wire.ErrFormat},
		"answers":   {edit(func(p []byte) []byte { p[7] = 1; return p }), wire.ErrFormat},
		"cut":       {good[:len(good)-1], wire.ErrFormat},
		"longer":    {append(bytes.Clone(good), 0), wire.ErrFormat},
		"pointer":   {edit(func(p []byte) []byte { p[12], p[13] = 0xc0, 12; return p }), wire.ErrFormat},
		"extra":     {edit(func(p []byte) []byte { p[11] = 1; return p }), wire.ErrFormat},
		"version 1": {append(edit(func(p []byte) []byte { p[11] = 1; return p }), 0, 0, 41, 4, 0, 0, 1, 0, 0, 0, 0), wire.ErrVersion},
		"opt twice": {append(edit(func(p []byte) []byte { p[11] = 2; return p }), bytes.Repeat([]byte{0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0}, 2)...), wire.ErrFormat},
	} {
		var q wire.Query
		err := q.Parse(c.p)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err != nil && !errors.Is(err, wire.ErrIgnore) {
			if m := unpack(t, q.AppendEmpty(nil, wire.FormatError)); m.Id != binary.BigEndian.Uint16(good) || !m.Response {
				t.Errorf("%s: answered %v", name, m)
			}
		}
	}
	var q wire.Query
	_ = q.Parse(append(edit(func(p []byte) []byte { p[11] = 1; return p }), 0, 0, 41, 4, 0, 0, 1, 0, 0, 0, 0))
	if m := unpack(t, q.AppendEmpty(nil, wire.BadVersion)); m.Rcode != dns.RcodeBadVers {
		t.Errorf("a later EDNS gets %v", m)
	}
}

func TestSet(t *testing.T) {
	for name, want := range map[string]string{
		"": ".", ".": ".", "a.test": "a.test.", "A.test.": "a.test.", `a\.b.test`: `a\.b.test.`, `\208\191.test`: `\208\191.test.`,
		strings.Repeat("a", 63) + ".b": strings.Repeat("a", 63) + ".b.",
	} {
		var q wire.Query
		if err := q.Set(name, dns.TypeTXT); err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		m := unpack(t, q.AppendUpstream(nil, true))
		if got := m.Question[0]; got.Name != want || got.Qtype != dns.TypeTXT || m.IsEdns0() == nil || !m.RecursionDesired {
			t.Errorf("%q is asked as %v", name, m)
		}
	}
	for _, name := range []string{"a..b", ".a", "..", strings.Repeat("a", 64), strings.Repeat("a.", 130), `\300.a`} {
		var q wire.Query
		if err := q.Set(name, 1); !errors.Is(err, wire.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestScanAndAppend(t *testing.T) {
	q, m := ask(t, "Www.Example.test.", dns.TypeA, false)
	r := new(dns.Msg).SetReply(m)
	r.RecursionAvailable, r.AuthenticatedData = true, true
	r.Answer = rrs(t, "www.example.test. 300 IN CNAME host.example.test.", "host.example.test. 60 IN A 192.0.2.1", "host.example.test. 200 IN A 192.0.2.2")
	r.Ns = rrs(t, "example.test. 10 IN NS ns.example.test.")
	r.Extra = rrs(t, "ns.example.test. 3 IN AAAA 2001:db8::1")
	r.SetEdns0(1232, false)
	r.Compress = true
	p := pack(t, r)
	if err := wire.Answers(pack(t, m), p); err != nil {
		t.Fatal(err)
	}
	a, err := wire.Scan(p)
	if err != nil {
		t.Fatal(err)
	}
	if a.TTL != 60 || len(a.Addrs) != 2 || a.Addrs[1] != netip.MustParseAddr("192.0.2.2") || a.Empty() || a.RCode() != 0 {
		t.Errorf("%+v", a)
	}
	q2, m2 := ask(t, "wWW.example.TEST.", dns.TypeA, true)
	got := unpack(t, a.Append([]byte{}, q2, 50, 1232))
	if got.Id != m2.Id || got.Question[0].Name != "wWW.example.TEST." || got.IsEdns0() == nil || !got.AuthenticatedData {
		t.Errorf("%v", got)
	}
	for i, want := range []uint32{250, 10, 150} {
		if ttl := got.Answer[i].Header().Ttl; ttl != want {
			t.Errorf("record %d has %d s, want %d", i, ttl, want)
		}
	}
	if got.Ns[0].Header().Ttl != 1 || got.Extra[0].Header().Ttl != 1 {
		t.Errorf("what is out of date: %v %v", got.Ns, got.Extra)
	}
	plain := unpack(t, a.Append(nil, q, 0, 512))
	if plain.IsEdns0() != nil || plain.AuthenticatedData || len(plain.Answer) != 3 || plain.Answer[0].Header().Ttl != 300 || len(plain.Extra) != 1 {
		t.Errorf("%v", plain)
	}
	if stale := unpack(t, a.AppendStale(nil, q, 30, 512)); stale.Answer[2].Header().Ttl != 30 {
		t.Errorf("stale: %v", stale)
	}
	short := unpack(t, a.Append(nil, q2, 0, 100))
	if !short.Truncated || len(short.Answer) != 0 || short.IsEdns0() == nil || short.Question[0].Name != "wWW.example.TEST." {
		t.Errorf("truncated: %v", short)
	}
}

// TestAddrs: addresses are those of the name, and of the names it leads to.
func TestAddrs(t *testing.T) {
	_, m := ask(t, "A.test.", dns.TypeA, false)
	r := new(dns.Msg).SetReply(m)
	r.Answer = rrs(t, "a.test. 60 IN CNAME B.test.", "other.test. 60 IN A 192.0.2.66", "b.test. 60 IN CNAME c.test.",
		"c.test. 4294967295 IN A 192.0.2.1", "evil.test. 60 IN A 192.0.2.6", "C.test. 99999999 IN A 192.0.2.2")
	r.Compress = true
	a, err := wire.Scan(pack(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Addrs) != 2 || a.Addrs[0] != netip.MustParseAddr("192.0.2.1") || a.Addrs[1] != netip.MustParseAddr("192.0.2.2") {
		t.Error(a.Addrs)
	}
	slices.Reverse(r.Answer) // some servers have another order
	if a, err := wire.Scan(pack(t, r)); err != nil || len(a.Addrs) != 2 {
		t.Errorf("the other way round: %v, %v", a.Addrs, err)
	}
	got := unpack(t, a.Wire)
	if ttl := got.Answer[3].Header().Ttl; ttl != 0 {
		t.Errorf("a time that is none is %d", ttl)
	}
	if ttl := got.Answer[5].Header().Ttl; ttl != 7*24*3600 {
		t.Errorf("a long time is %d", ttl)
	}
}

func TestLife(t *testing.T) {
	soa := "test. 900 IN SOA ns.test. admin.test. 1 2 3 4 40"
	for name, c := range map[string]struct {
		kind    uint16
		rcode   int
		answers []string
		ns      []string
		want    uint32
	}{
		"nxdomain":          {dns.TypeA, dns.RcodeNameError, nil, []string{soa}, 40},
		"nodata":            {dns.TypeA, 0, nil, []string{soa}, 40},
		"no soa":            {dns.TypeA, 0, nil, nil, 0},
		"nxdomain, alias":   {dns.TypeA, dns.RcodeNameError, []string{"a.test. 7 IN CNAME b.test."}, []string{soa}, 7},
		"alias to nothing":  {dns.TypeA, 0, []string{"a.test. 700 IN CNAME b.test."}, []string{soa}, 40},
		"servfail":          {dns.TypeA, dns.RcodeServerFailure, nil, []string{soa}, 0},
		"short soa":         {dns.TypeA, 0, nil, []string{"test. 5 IN SOA ns.test. admin.test. 1 2 3 4 40"}, 5},
		"too long":          {dns.TypeA, 0, []string{"a.test. 99999999 IN A 192.0.2.1"}, nil, 7 * 24 * 3600},
		"negative, as once": {dns.TypeA, 0, []string{"a.test. 4294967295 IN A 192.0.2.1"}, nil, 0},
		"text with soa":     {dns.TypeTXT, 0, []string{`a.test. 70 IN TXT "x"`}, []string{soa}, 70},
	} {
		_, m := ask(t, "a.test.", c.kind, false)
		r := new(dns.Msg).SetReply(m)
		r.Rcode, r.Answer, r.Ns = c.rcode, rrs(t, c.answers...), rrs(t, c.ns...)
		a, err := wire.Scan(pack(t, r))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if a.TTL != c.want {
			t.Errorf("%s: %d s, want %d", name, a.TTL, c.want)
		}
	}
}

func TestScanRefuses(t *testing.T) {
	_, m := ask(t, "a.test.", dns.TypeA, false)
	r := new(dns.Msg).SetReply(m)
	r.Answer = rrs(t, "a.test. 60 IN A 192.0.2.1")
	r.Compress = true
	good := pack(t, r)
	name := len(good) - 16 // of the answer
	edit := func(f func(p []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for what, p := range map[string][]byte{
		"empty":           nil,
		"cut":             good[:len(good)-1],
		"points to self":  edit(func(p []byte) []byte { p[name+1] = byte(name); return p }),
		"points forward":  edit(func(p []byte) []byte { p[name+1] = byte(name + 4); return p }),
		"points to head":  edit(func(p []byte) []byte { p[name+1] = 2; return p }),
		"reserved label":  edit(func(p []byte) []byte { p[name] = 0x80; return p }),
		"many records":    edit(func(p []byte) []byte { p[6], p[7] = 0xff, 0xff; return p }),
		"short address":   edit(func(p []byte) []byte { p[len(p)-5] = 3; return p }),
		"no question":     edit(func(p []byte) []byte { p[5] = 0; return p }),
		"size of 65535":   edit(func(p []byte) []byte { p[len(p)-6], p[len(p)-5] = 0xff, 0xff; return p }),
		"question by ptr": edit(func(p []byte) []byte { p[12], p[13] = 0xc0, 12; return p }),
	} {
		if a, err := wire.Scan(bytes.Clone(p)); err == nil {
			t.Errorf("%s: %+v", what, a)
		}
	}
}

func TestAnswers(t *testing.T) {
	_, m := ask(t, "a.test.", dns.TypeA, true)
	query := pack(t, m)
	r := new(dns.Msg).SetReply(m)
	r.Question[0].Name = "A.tEst."
	if err := wire.Answers(query, pack(t, r)); err != nil {
		t.Errorf("another case: %v", err)
	}
	for what, f := range map[string]func(*dns.Msg){
		"id":       func(r *dns.Msg) { r.Id++ },
		"name":     func(r *dns.Msg) { r.Question[0].Name = "b.test." },
		"type":     func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeAAAA },
		"class":    func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassCHAOS },
		"none":     func(r *dns.Msg) { r.Question = nil },
		"query":    func(r *dns.Msg) { r.Response = false },
		"opcode":   func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify },
		"longer":   func(r *dns.Msg) { r.Question[0].Name = "a.test.test." },
		"not case": func(r *dns.Msg) { r.Question[0].Name = "!.test." },
	} {
		r := new(dns.Msg).SetReply(m)
		f(r)
		if err := wire.Answers(query, pack(t, r)); err == nil {
			t.Errorf("%s: taken as an answer", what)
		}
	}
	if wire.Answers(query, query[:5]) == nil || wire.Answers(query, nil) == nil {
		t.Error("a short message is taken as an answer")
	}
}

func TestOwnAnswers(t *testing.T) {
	q, m := ask(t, "Fake.test.", dns.TypeA, true)
	got := unpack(t, q.AppendAddrs(nil, 1, 1232, netip.MustParseAddr("198.18.0.4"), netip.MustParseAddr("::1")))
	if len(got.Answer) != 1 || got.Answer[0].String() != "Fake.test.\t1\tIN\tA\t198.18.0.4" || got.Id != m.Id || got.IsEdns0() == nil {
		t.Errorf("%v", got)
	}
	q6, _ := ask(t, "fake.test.", dns.TypeAAAA, false)
	if got := unpack(t, q6.AppendAddrs(nil, 1, 512, netip.MustParseAddr("fc00::4"))); got.Answer[0].(*dns.AAAA).AAAA.String() != "fc00::4" {
		t.Errorf("%v", got)
	}
	if got := unpack(t, q.AppendEmpty(nil, wire.NameError)); got.Rcode != dns.RcodeNameError || !got.RecursionAvailable || len(got.Answer) != 0 {
		t.Errorf("%v", got)
	}
	ptr, _ := ask(t, "4.0.18.198.in-addr.arpa.", dns.TypePTR, false)
	if got := unpack(t, ptr.AppendName(nil, wire.TypePTR, 1, 512, "fake.test")); got.Answer[0].(*dns.PTR).Ptr != "fake.test." {
		t.Errorf("%v", got)
	}
	many := make([]netip.Addr, 100)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	}
	if got := unpack(t, q.AppendAddrs(nil, 1, 512, many...)); !got.Truncated || len(got.Answer) != 0 {
		t.Errorf("%v", got)
	}
}

func FuzzParse(f *testing.F) {
	m := new(dns.Msg).SetQuestion("a.example.test.", dns.TypeA)
	f.Add(pack(f, m))
	f.Add(pack(f, m.SetEdns0(4096, true)))
	f.Fuzz(func(t *testing.T, p []byte) {
		var q wire.Query
		err := q.Parse(p)
		if errors.Is(err, wire.ErrIgnore) {
			return
		}
		code := uint16(wire.Success)
		if err != nil {
			code = wire.FormatError
		}
		r := q.AppendEmpty(nil, code)
		m := unpack(t, r)
		if err == nil && wire.Answers(p, r) != nil {
			t.Errorf("%x is no answer to %x", r, p)
		}
		if m.Id != binary.BigEndian.Uint16(p) {
			t.Error("another id")
		}
	})
}

func FuzzScan(f *testing.F) {
	_, m := ask(f, "www.example.test.", dns.TypeA, false)
	r := new(dns.Msg).SetReply(m)
	r.Answer = rrs(f, "www.example.test. 300 IN CNAME host.example.test.", "host.example.test. 60 IN A 192.0.2.1")
	r.Ns = rrs(f, "test. 900 IN SOA ns.test. admin.test. 1 2 3 4 40")
	r.Compress = true
	f.Add(pack(f, r), uint32(7))
	r.SetEdns0(1232, true)
	f.Add(pack(f, r), uint32(7))
	for _, p := range hostile(f) {
		f.Add(p, uint32(1))
	}
	f.Fuzz(func(t *testing.T, p []byte, age uint32) {
		a, err := wire.Scan(p)
		if err != nil || len(a.Wire) == wire.HeaderSize {
			return
		}
		// The question, in the other case: what is answered is as good as what was read.
		asked := bytes.Clone(a.Wire)
		for at := wire.HeaderSize; asked[at] != 0; {
			for size := asked[at]; size > 0; size-- {
				if at++; asked[at]|0x20 >= 'a' && asked[at]|0x20 <= 'z' {
					asked[at] ^= 0x20
				}
			}
			at++
		}
		query := bytes.Clone(asked[:questionEnd(asked)])
		copy(query[2:12], []byte{1, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		var q wire.Query
		if err := q.Parse(query); err != nil {
			t.Fatalf("%x: %v", query, err)
		}
		for _, out := range [][]byte{
			a.Append(nil, &q, 0, wire.MaxSize), a.Append(nil, &q, age, wire.MaxSize), a.AppendStale(nil, &q, 30, wire.MaxSize), a.Aged(age, 0),
		} {
			again, err := wire.Scan(bytes.Clone(out))
			if err != nil {
				t.Fatalf("%x is answered as %x: %v", a.Wire, out, err)
			}
			if !slices.Equal(again.Addrs, a.Addrs) {
				t.Errorf("%v became %v", a.Addrs, again.Addrs)
			}
		}
	})
}

func questionEnd(p []byte) int {
	at := wire.HeaderSize
	for p[at] != 0 {
		at += 1 + int(p[at])
	}
	return at + 5
}

// hostile are responses whose names lead where they must not.
func hostile(t testing.TB) map[string][]byte {
	t.Helper()
	head := func(answers byte) []byte {
		return append([]byte{0, 0, 0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0}, "\x01a\x04test\x00\x00\x01\x00\x01"...)
	}
	record := func(name string, ttl uint32) []byte {
		b := append([]byte(name), 0, 1, 0, 1)
		return append(binary.BigEndian.AppendUint32(b, ttl), 0, 4, 192, 0, 2, 1)
	}
	all := map[string][]byte{}
	// A pointer to a byte that, taken for the size of a label, leads forward over the record itself.
	for size := byte(12); size < 64; size++ {
		p := append([]byte{0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 2, size}, "a\x04test\x00\x00\x01\x00\x01"...)
		p = append(p, record("\xc0\x0d", 0xffffffff)...)
		all[fmt.Sprintf("forward %d", size)] = append(p, make([]byte, 80)...)
	}
	all["to itself"] = append(head(1), record("\x01x\xc0\x18", 1)...)
	// The last byte of a TTL is the size of a label.
	p := append(head(2), record("\xc0\x0c", 0x114)...)
	all["into a TTL"] = append(p, record("\xc0\x21", 1)...)
	// A pointer to a byte of the question that is taken for a pointer.
	q := append([]byte{0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, "\x02\xc0a\x04test\x00\x00\x01\x00\x01"...)
	all["into the question"] = append(q, record("\xc0\x0d", 1)...)
	// Pointers to pointers, without end.
	chain := head(1)
	for at := len(chain); at < 4000; at += 2 {
		to := at - 2
		if at == len(head(1)) {
			to = wire.HeaderSize
		}
		chain = append(chain, 0xc0|byte(to>>8), byte(to))
	}
	all["a chain"] = chain
	return all
}

// TestHostileNames are refused.
func TestHostileNames(t *testing.T) {
	for what, p := range hostile(t) {
		if a, err := wire.Scan(bytes.Clone(p)); err == nil {
			t.Errorf("%s: %x is %v", what, p, a.Addrs)
		}
	}
}

// TestRefusal: a header alone says that a question was not understood.
func TestRefusal(t *testing.T) {
	_, m := ask(t, "a.test.", dns.TypeA, true)
	query := pack(t, m)
	for code, want := range map[byte]bool{wire.FormatError: true, wire.NotImplemented: true, wire.Success: false, wire.ServerFailure: false} {
		p := append(bytes.Clone(query[:2]), 0x81, code, 0, 0, 0, 0, 0, 0, 0, 0)
		a, err := wire.Scan(p)
		if got := wire.Answers(query, p) == nil && err == nil && a.RCode() == code && a.TTL == 0; got != want {
			t.Errorf("code %d: %v, %v", code, a, err)
		}
		p[0]++
		if wire.Answers(query, p) == nil {
			t.Error("another id is taken")
		}
	}
}
