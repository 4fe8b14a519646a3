package e2e

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// startPeer runs a name server of Debian's until the test is over, and waits until it answers at addr.
func startPeer(t *testing.T, addr, name string, args ...string) {
	t.Helper()
	var log strings.Builder
	cmd := exec.Command(program(t, name), args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	c := dns.Client{Timeout: 100 * time.Millisecond}
	until(t, name+" answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s has ended:\n%s", name, log.String())
		default:
		}
		_, _, err := c.Exchange(new(dns.Msg).SetQuestion("test.", dns.TypeSOA), addr)
		return err == nil
	})
}

// startUnbound runs unbound with local records, on ports for plain DNS, DoT and DoH.
func startUnbound(t *testing.T, cert, key string, records ...string) (plain, dot, doh int) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, dot, doh = testkit.FreePort(t), testkit.FreePort(t), testkit.FreePort(t)
	var b strings.Builder
	fmt.Fprintf(&b, `server:
  interface: 127.0.0.1@%d
  interface: 127.0.0.1@%d
  tls-port: %[2]d
  tls-service-pem: %q
  tls-service-key: %q
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  do-ip6: no
  module-config: "iterator"
  local-zone: "test." static
`, plain, dot, write("cert.pem", cert), write("key.pem", key), dir)
	if version, _ := exec.Command(program(t, "unbound"), "-V").Output(); strings.Contains(string(version), "--with-libnghttp2") {
		fmt.Fprintf(&b, "  interface: 127.0.0.1@%d\n  https-port: %[1]d\n  http-endpoint: \"/dns-query\"\n", doh)
	} else {
		doh = 0
	}
	for _, r := range records {
		fmt.Fprintf(&b, "  local-data: '%s'\n", r)
	}
	b.WriteString("remote-control:\n  control-enable: no\n")
	startPeer(t, fmt.Sprintf("127.0.0.1:%d", plain), "unbound", "-d", "-c", write("unbound.conf", b.String()))
	return plain, dot, doh
}

// newQUICServers answer as s does, over DNS over QUIC and HTTP/3.
func newQUICServers(t *testing.T, s *nameServer, cert, key string) (doq, h3 net.Addr) {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"doq"}}
	ln, err := quic.ListenAddr("127.0.0.1:0", config, nil)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var live sync.WaitGroup
	live.Go(func() {
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			live.Go(func() { serveQUIC(c, s) })
		}
	})
	web := &http3.Server{
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			question, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/dns-message")
			_, _ = w.Write(relayed(s, question))
		}),
	}
	live.Go(func() { _ = web.Serve(socket) })
	t.Cleanup(func() {
		_, _, _ = ln.Close(), web.Close(), socket.Close()
		live.Wait()
	})
	return ln.Addr(), socket.LocalAddr()
}

func serveQUIC(c *quic.Conn, s *nameServer) {
	for {
		st, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		question, err := io.ReadAll(st)
		if err == nil && len(question) > 2 {
			m := relayed(s, question[2:])
			_, _ = st.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
		}
		_ = st.Close()
	}
}

// relayed is what s answers to a message.
func relayed(s *nameServer, question []byte) []byte {
	q := new(dns.Msg)
	if q.Unpack(question) != nil {
		return nil
	}
	c := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	m, _, err := c.Exchange(q, s.addr)
	if err != nil {
		return nil
	}
	text, _ := m.Pack()
	return text
}
