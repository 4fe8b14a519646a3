package sysnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestBindErrors(t *testing.T) {
	a, err := ListenTCP("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	_, err = ListenTCP(a.AddrPort().String(), Options{})
	if !errors.Is(err, syscall.EADDRINUSE) || err.Error() != fmt.Sprintf("bind %s: address already in use", a.AddrPort()) {
		t.Error(err)
	}
}

// TestShare binds every address beside one address on the same port, and keeps both usable.
func TestShare(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SO_REUSEPORT")
	}
	a, err := ListenTCP("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	wide := fmt.Sprintf(":%d", a.AddrPort().Port())
	if _, err := ListenTCP(wide, Options{ReusePort: true}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("%v; want in use before sharing", err)
	}
	if err := a.Share(); err != nil {
		t.Fatal(err)
	}
	b, err := ListenTCP(wide, Options{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	u, err := ListenUDP("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := u.Share(); err != nil {
		t.Fatal(err)
	}
	v, err := ListenUDP(fmt.Sprintf(":%d", u.AddrPort().Port()), Options{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = v.Close()
}

// TestPktinfo asks a socket of every address at 127.0.0.9: it knows, and answers from there.
func TestPktinfo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell")
	}
	for _, addr := range []string{"0.0.0.0:0", ":0"} {
		s, err := ListenUDP(addr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), s.AddrPort().Port())
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.WriteToUDPAddrPort([]byte("q"), at); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		n, from, local, err := s.Receive(b)
		if err != nil || local != at.Addr() {
			t.Fatalf("%s: asked at %v, %v", addr, local, err)
		}
		if _, err := s.Send(b[:n], from, local); err != nil {
			t.Fatal(err)
		}
		if _, from, err = c.ReadFromUDPAddrPort(b); err != nil || Unmap(from) != at {
			t.Errorf("%s: answered from %v, %v", addr, from, err)
		}
	}
}

func TestDialOptions(t *testing.T) {
	ln, err := ListenTCP("127.0.0.1:0", Options{FastOpen: true, Multipath: true, KeepAlive: KeepAlive{Idle: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := Dial(ctx, ln.AddrPort(), Options{FastOpen: true, Multipath: true})
	if err != nil {
		t.Fatal(err)
	}
	closed := 0
	c.OnClose(func() { closed++ })
	_ = c.Close()
	_ = c.Close()
	if closed != 1 {
		t.Errorf("told %d times", closed)
	}
	if _, err := Dial(ctx, ln.AddrPort(), Options{Interface: "no-such-nic"}); err == nil || !strings.Contains(err.Error(), "interface") {
		t.Errorf("%v; want an error that names the interface", err)
	}
}

func TestPipesHoldNothingBack(t *testing.T) {
	if !CanSplice {
		t.Skip("no splice")
	}
	p, err := GetPipe()
	if err != nil {
		t.Fatal(err)
	}
	PutPipe(p)
	if q, _ := GetPipe(); q != p {
		t.Error("an empty pipe was not kept")
	} else {
		PutPipe(q)
	}
}

func TestOpenFiles(t *testing.T) {
	before, ok := OpenFiles()
	if !ok {
		t.Skip("the system does not tell")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, _ := OpenFiles(); n != before+1 {
		t.Errorf("%d with one more than %d", n, before)
	}
}
