package dns

import (
	"net/netip"
	"sync"
)

// Limits of the questions that wait for a name server. Many clients may have one address: that of the
// forwarder they stand behind.
const (
	maxWaiting      = 4096
	maxWaitingOfOne = 512
)

// waiting counts the questions that wait for a name server, by client. The zero value is ready.
type waiting struct {
	mu  sync.Mutex
	all int
	of  map[netip.Prefix]int
}

// clientOf is what counts as one client: an address, or the network of an address of IPv6, of which a
// machine has as many as it likes. Neighbours on a link share that network, and are told apart.
func clientOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap()
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsLinkLocalUnicast() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // without the zone
	return p
}

// enter counts a question of client, unless there are too many.
func (w *waiting) enter(client netip.Prefix) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.of[client]
	if w.all >= maxWaiting || n >= maxWaitingOfOne {
		return false
	}
	if w.of == nil {
		w.of = make(map[netip.Prefix]int)
	}
	w.all++
	w.of[client] = n + 1
	return true
}

// leave takes a question of client back.
func (w *waiting) leave(client netip.Prefix) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if n := w.of[client] - 1; n > 0 {
		w.of[client] = n
	} else {
		delete(w.of, client)
	}
}

// most is the client that most of the questions are from.
func (w *waiting) most() (client netip.Prefix, n, all int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, has := range w.of {
		if has > n {
			client, n = c, has
		}
	}
	return client, n, w.all
}

// logCrowd notes that there is no room for one more question, and says at times which client has so many
// waiting.
func (l *Listener) logCrowd() {
	l.handler.Load().count(failed)
	if l.crowdLogged.due() {
		client, n, all := l.waiting.most()
		l.log.Warn("too many questions wait for name servers, more get SERVFAIL: see what this client asks, and whether the name servers answer",
			"client", clientName(client), "waiting", n, "all", all)
	}
}

func clientName(client netip.Prefix) string {
	if client.IsSingleIP() {
		return client.Addr().String()
	}
	return client.String()
}
