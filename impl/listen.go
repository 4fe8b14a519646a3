package impl

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// listener is one socket of the API.
type listener struct {
	net.Listener
	tcp  *sysnet.TCPListener              // nil for a Unix socket and a pipe
	cert *atomic.Pointer[tls.Certificate] // of a TLS listener
	down atomic.Bool                      // it serves no more, for want of a socket that works
	once sync.Once
}

func (l *listener) close() {
	l.once.Do(func() { _ = l.Listener.Close() })
}

// change is a prepared change of the API.
type change struct {
	c        *Controller
	settings *settings
	live     map[endpoint]*listener
	going    map[endpoint]*listener // what serves until Commit
	fresh    []*listener
	certs    []func()
	undo     []func() // what Abort takes back beside closing fresh
	notice   string
}

// Name implements relay.Part.
func (c *Controller) Name() string { return "controller" }

// Prepare implements relay.Part: it binds what is new and reads the certificate.
func (c *Controller) Prepare(_, next *config.Config) (config.Change, error) {
	ch, done := &change{c: c, live: make(map[endpoint]*listener), going: c.going(next)}, false
	defer func() {
		if !done { // also by a bug
			ch.Abort()
		}
	}()
	if err := checkDoH(next); err != nil {
		return nil, err
	}
	secret, err := ch.secret(next)
	if err != nil {
		return nil, err
	}
	ch.settings = newSettings(next, secret)
	if err := ch.listen(next); err != nil {
		return nil, err
	}
	done = true
	return ch, nil
}

func (ch *change) listen(next *config.Config) error {
	if addr := next.Controller.Addr; addr != "" {
		if _, err := ch.tcp("tcp", addr); err != nil {
			return fmt.Errorf("external-controller: %w", err)
		}
	}
	if addr := next.Controller.TLSAddr; addr != "" {
		if err := ch.tls(addr, next); err != nil {
			return fmt.Errorf("external-controller-tls: %w", err)
		}
	}
	if path := unixPath(next); path != "" {
		if err := ch.unix(path, next.Paths.Home); err != nil {
			return fmt.Errorf("external-controller-unix: %w", err)
		}
	}
	if name := pipeName(next); name != "" {
		if err := ch.pipe(name); err != nil {
			return fmt.Errorf("external-controller-pipe: %w", err)
		}
	}
	return nil
}

// tls keeps or binds the TLS listener, and reads its certificate unless that is to stay.
func (ch *change) tls(addr string, next *config.Config) error {
	var cert *tls.Certificate
	for e, l := range ch.c.live {
		if e.kind == "tls" && next.Controller.Kept {
			cert = l.cert.Load()
		}
	}
	if cert == nil {
		var err error
		if cert, err = certificate(next); err != nil {
			return err
		}
	}
	l, err := ch.tcp("tls", addr)
	if err != nil {
		return err
	}
	ch.certs = append(ch.certs, func() { l.cert.Store(cert) })
	return nil
}

// tcp keeps or binds a TCP listener, with TLS on it where kind is "tls".
func (ch *change) tcp(kind, addr string) (*listener, error) {
	e, l := ch.c.serving(endpoint{kind, addr})
	if l != nil {
		ch.live[e] = l
		return l, nil
	}
	o := sysnet.Options{Sockets: ch.c.o.Sockets, Owner: "controller-" + kind}
	ln, err := sysnet.ListenTCP(addr, o)
	if errors.Is(err, syscall.EADDRINUSE) && ch.share(addr) {
		o.ReusePort = true
		ln, err = sysnet.ListenTCP(addr, o)
	}
	if err != nil {
		return nil, err
	}
	l = &listener{Listener: ln.Plain(), tcp: ln}
	if kind == "tls" {
		l.cert = new(atomic.Pointer[tls.Certificate])
		l.Listener = tls.NewListener(l.Listener, &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.cert.Load(), nil },
		})
	}
	ch.add(e, l)
	return l, nil
}

// share lets a new listener bind beside one of ours on the same port, which Commit is going to close.
func (ch *change) share(addr string) bool {
	old, ok := samePort(ch.going, addr)
	return ok && ch.going[old].tcp.Share() == nil
}

func (ch *change) add(e endpoint, l *listener) {
	ch.live[e] = l
	ch.fresh = append(ch.fresh, l)
}

// Check says what of c would keep the controller from starting, but for ports in use. It changes
// nothing.
func Check(c *config.Config) error { return judge(c).Err() }

// judge is Check with a place for each of what is wrong.
func judge(c *config.Config) (diags config.Diagnostics) {
	if invalid, ok := errors.AsType[*config.Invalid](checkDoH(c)); ok {
		diags = invalid.Diagnostics
	}
	if c.Controller.TLSAddr == "" || c.TLS.Certificate == "" || c.TLS.PrivateKey == "" { // which config has reported
		return diags
	}
	if _, err := certificate(c); err != nil {
		at := c.Place("tls")
		diags = append(diags, config.Diagnostic{
			Severity: config.Error, File: c.File, Line: at.Line, Column: at.Column,
			Path: "external-controller-tls", Message: err.Error(),
		})
	}
	return diags
}

// certificate reads what tls.certificate and tls.private-key hold: PEM, or the path of a file.
func certificate(c *config.Config) (*tls.Certificate, error) {
	cert, err := pem(c, "tls.certificate", c.TLS.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := pem(c, "tls.private-key", c.TLS.PrivateKey)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, errors.New("tls.certificate and tls.private-key are no certificate and its key, in PEM")
	}
	return &pair, nil
}

// maxPEM bounds a certificate or a key, in bytes: what is behind is not read.
const maxPEM = 1 << 20

func pem(c *config.Config, name, text string) ([]byte, error) {
	if text == "" {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if strings.Contains(text, "-----BEGIN") {
		return []byte(text), nil
	}
	f, err := c.Paths.Open(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// Commit implements config.Change.
func (ch *change) Commit() {
	c := ch.c
	c.settings.Store(ch.settings)
	for _, set := range ch.certs {
		set()
	}
	for _, l := range ch.fresh {
		c.serve.Go(func() {
			server := c.http
			if l.tcp == nil {
				server = c.local
			}
			if err := server.Serve(l); err != nil && c.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				l.down.Store(true)
				c.log.Error("the API stopped listening", "addr", l.Addr().String(), "err", err)
			}
		})
	}
	for e, l := range c.live {
		if ch.live[e] == nil {
			l.close()
		}
	}
	for e, l := range ch.live {
		if c.live[e] == nil {
			c.log.Info("RESTful API listening at: "+l.Addr().String(), "kind", e.kind)
		}
	}
	c.live = ch.live
	c.shown.Store(&ch.live)
	if ch.notice != "" {
		c.log.Warn(ch.notice)
	}
}

// Abort implements config.Change.
func (ch *change) Abort() {
	for _, l := range ch.fresh {
		l.close()
	}
	for _, undo := range ch.undo {
		undo()
	}
}

// secretFile keeps the secret that was made up for a listener which others can reach.
const secretFile = "controller.secret"

// secret is the secret of the configuration. Where there is none and others than this machine can
// reach the API, one is made up and kept.
func (ch *change) secret(c *config.Config) (string, error) {
	if c.Controller.Secret != "" || !reachable(c.Controller.Addr) && !reachable(c.Controller.TLSAddr) {
		return c.Controller.Secret, nil
	}
	path := filepath.Join(c.Paths.Home, secretFile)
	ch.notice = "the API can be reached from other machines and has no secret: it uses the one in " + path
	b, err := os.ReadFile(path)
	if word := string(bytes.TrimSpace(b)); err == nil && word != "" {
		return word, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("secret: %w", err)
	}
	word := rand.Text()
	if err := os.MkdirAll(c.Paths.Home, 0o700); err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	ch.undo = append(ch.undo, func() { _ = os.Remove(path) }) // also what a full disk has half of
	if err := os.WriteFile(path, []byte(word+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	return word, nil
}

// reachable says whether other machines can connect to addr.
func reachable(addr string) bool {
	if addr == "" {
		return false
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsLoopback()
	}
	return host != "localhost"
}
