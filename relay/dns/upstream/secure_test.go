package upstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// secret stands in paths and users, and must not be in any error.
const secret = "hush"

// identity is a throw-away certificate that signs itself.
type identity struct {
	cert      tls.Certificate
	roots     *x509.CertPool
	pem, keys []byte
}

// newIdentity is for 127.0.0.1 and the names.
func newIdentity(t testing.TB, names ...string) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := &identity{
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots: x509.NewCertPool(),
		pem:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keys: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	id.roots.AddCert(leaf)
	return id
}

// answerer makes the bytes of the answer to a query. Where nothing else is set it answers as it should.
type answerer struct {
	f atomic.Pointer[func(*dns.Msg) []byte]
}

func (a *answerer) set(f func(*dns.Msg) []byte) { a.f.Store(&f) }

func (a *answerer) answer(q *dns.Msg) []byte {
	if f := a.f.Load(); f != nil {
		return (*f)(q)
	}
	return packed(good(q))
}

func good(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	rr, err := dns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.7")
	if err != nil {
		panic(err)
	}
	m.Answer = append(m.Answer, rr)
	return m
}

func packed(m *dns.Msg) []byte {
	p, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return p
}

// peer is a server of ours, and a client's way to it that counts.
type peer struct {
	answerer
	server  *nameserver.Server
	config  Config
	id      *identity
	dials   atomic.Int64                // of the client
	open    atomic.Int64                // sockets of the client that are not closed
	accepts atomic.Int64                // of the server
	resumed atomic.Int64                // TLS sessions
	before  func(context.Context) error // before a dial
	users   int                         // upstreams that are not closed
	restart func()                      // the server forgets all connections
	leave   func()                      // the server of HTTP/3 wants no more on its connections
}

// newPeer is on no port yet: to says where it can be found.
func newPeer(t testing.TB, scheme nameserver.Scheme, to *net.Addr) *peer {
	p := &peer{id: newIdentity(t)}
	p.server = &nameserver.Server{Scheme: scheme, Path: "/dns-query?" + secret}
	p.server.Addr = flow.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: 1} // nothing is here
	p.config = Config{
		Roots: p.id.roots,
		Dial: func(ctx context.Context, network string, _ flow.Addr) (net.Conn, error) {
			if err := p.dial(ctx); err != nil {
				return nil, err
			}
			var d net.Dialer
			c, err := d.DialContext(ctx, network, (*to).String())
			if err != nil {
				return nil, err
			}
			p.open.Add(1)
			return &countedConn{Conn: c, n: &p.open}, nil
		},
		ListenPacket: func(ctx context.Context, _ flow.Addr) (net.PacketConn, net.Addr, error) {
			if err := p.dial(ctx); err != nil {
				return nil, nil, err
			}
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				return nil, nil, err
			}
			p.open.Add(1)
			return &countedSocket{PacketConn: c, n: &p.open}, *to, nil
		},
	}
	return p
}

func (p *peer) dial(ctx context.Context) error {
	p.dials.Add(1)
	if p.before != nil {
		return p.before(ctx)
	}
	return nil
}

// tls counts sessions that are resumed, also after a restart.
func (p *peer) tls(protocols ...string) *tls.Config {
	c := &tls.Config{
		Certificates: []tls.Certificate{p.id.cert}, NextProtos: protocols,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.DidResume {
				p.resumed.Add(1)
			}
			return nil
		},
	}
	c.SetSessionTicketKeys([][32]byte{{1}})
	return c
}

type countedConn struct {
	net.Conn
	n    *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.n.Add(-1) })
	return c.Conn.Close()
}

type countedSocket struct {
	net.PacketConn
	n    *atomic.Int64
	once sync.Once
}

func (c *countedSocket) Close() error {
	c.once.Do(func() { c.n.Add(-1) })
	return c.PacketConn.Close()
}

// accepting counts what a listener accepts.
type accepting struct {
	net.Listener
	n *atomic.Int64
}

func (l accepting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

// ask makes the query of an A record of name.
func ask(t testing.TB, name string, id uint16) []byte {
	t.Helper()
	var q wire.Query
	if err := q.Set(name, wire.TypeA); err != nil {
		t.Fatal(err)
	}
	p := q.AppendUpstream(nil, true)
	binary.BigEndian.PutUint16(p, id)
	return p
}

// checkAnswer fails where resp is not what good answers.
func checkAnswer(t testing.TB, query, resp []byte, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("Exchange: %v", err)
		return
	}
	if err := wire.Answers(query, resp); err != nil {
		t.Errorf("the response is none: %v", err)
		return
	}
	a, err := wire.Scan(resp)
	if err != nil || len(a.Addrs) != 1 || a.Addrs[0] != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("the response has %v, %v; want 192.0.2.7", a, err)
	}
}

// checkError fails where err is none, or tells more than it may.
func checkError(t testing.TB, server *nameserver.Server, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("no error")
		return
	}
	if strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), server.Addr.String()) {
		t.Errorf("error %q: want one with %s and without the path", err, server)
	}
}

// limited is a context for an exchange that is expected to come to an end by itself.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestPad(t *testing.T) {
	for n := range 120 {
		name := strings.Repeat("a", 1+n/2) + "." + strings.Repeat("b", 1+n-n/2)
		query := ask(t, name, 7)
		p := pad(query)
		if len(p)%padBlock != 0 {
			t.Errorf("a query of %d bytes becomes one of %d", len(query), len(p))
		}
		m := new(dns.Msg)
		if err := m.Unpack(p); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		opt := m.IsEdns0()
		if m.Id != 7 || m.Question[0].Name != name+"." || opt == nil || len(opt.Option) != 1 ||
			opt.Option[0].Option() != dns.EDNS0PADDING {
			t.Errorf("padded: %v", m)
		}
	}
	// Options that are there stay.
	m := new(dns.Msg).SetQuestion("a.test.", dns.TypeA).SetEdns0(1232, true)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
	p := pad(packed(m))
	if err := m.Unpack(p); err != nil || len(p) != padBlock || len(m.IsEdns0().Option) != 2 || !m.IsEdns0().Do() {
		t.Errorf("padded: %v, %v", m, err)
	}
	// Without EDNS there is no place for it.
	plain := packed(new(dns.Msg).SetQuestion("a.test.", dns.TypeA))
	if got := pad(plain); !bytes.Equal(got, plain) || &got[0] == &plain[0] {
		t.Errorf("pad(%x) = %x; want a copy", plain, got)
	}
}

func FuzzPad(f *testing.F) {
	f.Add(ask(f, "a.test", 1))
	f.Add(packed(new(dns.Msg).SetQuestion("a.test.", dns.TypeA)))
	f.Add([]byte{0, 1})
	f.Fuzz(func(t *testing.T, query []byte) {
		p := pad(query)
		var q, padded wire.Query
		if q.Parse(query) == nil && (padded.Parse(p) != nil || !bytes.Equal(q.Key(), padded.Key())) {
			t.Errorf("pad(%x) = %x", query, p)
		}
	})
}

func TestExplain(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if got := explain(t.Context(), err).Error(); got != want {
			t.Errorf("explain(%v) = %q; want %q", err, got, want)
		}
	}
	// What is not known may quote the server.
	f(errors.New("malformed response: "+secret), errObscure.Error())
	f(io.ErrUnexpectedEOF, "unexpected EOF")
	f(&safeError{errors.New("no route")}, "no route")
	f(&quic.ApplicationError{Remote: true, ErrorCode: 2, ErrorMessage: secret},
		"the connection was closed by the server with code 0x2")
	f(&quic.ApplicationError{ErrorCode: 2}, "the connection was closed")
	f(&http3.Error{Remote: true, ErrorCode: http3.ErrCodeInternalError, ErrorMessage: secret},
		"the request was ended by the server with code 0x102")
	f(&quic.StreamError{Remote: true, ErrorCode: 3}, "the stream was reset by the server with code 0x3")
	f(&quic.TransportError{Remote: true, ErrorCode: quic.ConnectionRefused, ErrorMessage: secret},
		"the connection was closed by the server: CONNECTION_REFUSED")
	f(&net.OpError{Op: "read", Net: "tcp", Err: errors.New("reset")}, "read tcp: reset")
}

// await waits until ok holds, which something that is under way makes true.
func await(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true")
		}
	}
}

func leaf(t testing.TB, id *identity) *x509.Certificate {
	c, err := x509.ParseCertificate(id.cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return c
}
