package impl

import (
	"errors"
	"net"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// TestDescriptor keeps pipes closed to everybody but three.
func TestDescriptor(t *testing.T) {
	const user = "S-1-5-21-1-2-3-1001"
	f := func(user, want string) {
		t.Helper()
		got := descriptor(user)
		if got != want {
			t.Errorf("descriptor(%q) = %s; want %s", user, got, want)
		}
		if !regexp.MustCompile(`^D:P(\(A;;GA;;;S(-\d+)+\)){2,3}$`).MatchString(got) {
			t.Errorf("descriptor(%q) = %s, which is no protected list of allowed SIDs", user, got)
		}
		for _, open := range []string{"WD", "AN", "AU", "BU", "NU", "S-1-1-0", "S-1-5-7)", "S-1-5-11", "S-1-5-32-545"} {
			if strings.Contains(got, open) {
				t.Errorf("descriptor(%q) = %s lets %s in", user, got, open)
			}
		}
	}
	f(user, "D:P(A;;GA;;;S-1-5-18)(A;;GA;;;S-1-5-32-544)(A;;GA;;;"+user+")")
	f(sidSystem, "D:P(A;;GA;;;S-1-5-18)(A;;GA;;;S-1-5-32-544)")
}

// TestPipeElsewhere shows that a file with a pipe works where there are none.
func TestPipeElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has pipes")
	}
	c := config.Default()
	c.Controller.Addr, c.Controller.Pipe = "", `\\.\pipe\switchyard`
	if list := endpoints(c); len(list) != 0 {
		t.Errorf("endpoints = %v, want none", list)
	}
	if _, err := listenPipe(c.Controller.Pipe); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("listenPipe: %v", err)
	}
}

// pipeListener is a listener whose connections have the address of a pipe.
type pipeListener struct{ *fasthttputil.InmemoryListener }

type pipeConn struct{ net.Conn }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return `\\.\pipe\switchyard` }

func (pipeConn) LocalAddr() net.Addr { return pipeAddr{} }

func (l pipeListener) Accept() (net.Conn, error) {
	c, err := l.InmemoryListener.Accept()
	return pipeConn{c}, err
}

// TestPipesAreLocal shows that who comes through a pipe needs no secret, and who comes through
// another connection does.
func TestPipesAreLocal(t *testing.T) {
	f := func(wrap func(*fasthttputil.InmemoryListener) net.Listener, want bool) {
		t.Helper()
		inner := fasthttputil.NewInmemoryListener()
		got := make(chan bool, 1)
		s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { got <- isLocal(ctx) }}
		done := make(chan error, 1)
		go func() { done <- s.Serve(wrap(inner)) }()
		c := &fasthttp.Client{Dial: func(string) (net.Conn, error) { return inner.Dial() }}
		if _, _, err := c.Get(nil, "http://localhost/"); err != nil {
			t.Fatal(err)
		}
		if is := <-got; is != want {
			t.Errorf("isLocal = %v, want %v", is, want)
		}
		c.CloseIdleConnections()
		if err := errors.Join(s.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	}
	f(func(l *fasthttputil.InmemoryListener) net.Listener { return pipeListener{l} }, true)
	f(func(l *fasthttputil.InmemoryListener) net.Listener { return l }, false)
}
