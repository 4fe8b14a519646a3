package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hammer connects again and again, to all that listens, until it is told to stop. Every connect has to be taken,
// and every request answered.
type hammer struct {
	t      *testing.T
	stop   context.CancelFunc
	ctx    context.Context
	work   sync.WaitGroup
	rounds atomic.Int64
}

// patienceOfClients is how long a client waits for an answer.
const patienceOfClients = 15 * time.Second

func startHammer(t *testing.T) *hammer {
	t.Helper()
	h := &hammer{t: t}
	h.ctx, h.stop = context.WithCancel(context.Background())
	t.Cleanup(h.end)
	return h
}

// end waits until the last client has its answer.
func (h *hammer) end() {
	h.stop()
	h.work.Wait()
}

// with has a client begin anew as long as ask works; an error is one of the test.
func (h *hammer) with(name string, ask func() error) {
	h.work.Go(func() {
		for h.ctx.Err() == nil {
			if err := ask(); err != nil {
				h.t.Errorf("%s: %v", name, err)
				return
			}
			h.rounds.Add(1)
		}
	})
}

// socks greets the mixed port at addr.
func (h *hammer) socks(addr string) {
	h.with("SOCKS", func() error {
		return exchange("tcp", addr, "\x05\x01\x00", "\x05\x00")
	})
}

// api asks the API for its version, each time over a connection of its own.
func (h *hammer) api(base string) {
	tr := &http.Transport{DisableKeepAlives: true}
	c := &http.Client{Transport: tr, Timeout: patienceOfClients}
	h.with("API", func() error { return fetchOK(c, base+"/version") })
}

// proxied fetches url through the mixed port at addr.
func (h *hammer) proxied(addr, url string) {
	tr := &http.Transport{DisableKeepAlives: true, Proxy: proxyURL(addr)}
	c := &http.Client{Transport: tr, Timeout: patienceOfClients}
	h.with("proxy", func() error { return fetchOK(c, url) })
}

// dns asks the name server at addr over UDP and TCP in turns.
func (h *hammer) dns(addr string) {
	const question = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01"
	h.with("DNS over UDP", func() error { return exchange("udp", addr, question, "\x12\x34\x81") })
	h.with("DNS over TCP", func() error {
		return exchange("tcp", addr, "\x00"+string(rune(len(question)))+question, "")
	})
}

// exchange sends what over a connection and expects an answer that begins with want.
func exchange(network, addr, what, want string) error {
	c, err := net.DialTimeout(network, addr, patienceOfClients)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patienceOfClients))
	if _, err := io.WriteString(c, what); err != nil {
		return err
	}
	b := make([]byte, 512)
	n, err := io.ReadAtLeast(c, b, max(1, len(want)))
	if err != nil || string(b[:len(want)]) != want {
		return fmt.Errorf("answered %q, %w", b[:n], err)
	}
	return nil
}

func fetchOK(c *http.Client, url string) error {
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 {
		return fmt.Errorf("%s %.200q, %w", r.Status, b, err)
	}
	return nil
}

// turn waits until so many more rounds were done.
func (h *hammer) turn(rounds int64) {
	h.t.Helper()
	deadline := time.Now().Add(patienceOfClients)
	for from := h.rounds.Load(); h.rounds.Load() < from+rounds; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) || h.t.Failed() {
			h.t.Fatal("the clients do not get on")
		}
	}
}
