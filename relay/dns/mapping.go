package dns

import (
	"net/netip"
	"sync"
	"time"
)

// Limits of a Mapping.
const (
	mappingSize  = 16384
	mappingExtra = 10 * 60 // seconds that clients may use an address beyond its time
)

// Mapping remembers which name an address was given out for.
type Mapping struct {
	start time.Time

	mu    sync.Mutex
	at    map[netip.Addr]int32
	nodes []mapped // a ring of lists by index; node 0 is its head
}

type mapped struct {
	ip         netip.Addr
	host       string
	until      int64 // seconds since start
	prev, next int32
}

// NewMapping makes an empty mapping.
func NewMapping() *Mapping {
	return &Mapping{start: time.Now(), at: make(map[netip.Addr]int32), nodes: make([]mapped, 1)}
}

// Note remembers that ip was given out for host, for ttl seconds. host is not kept.
func (m *Mapping) Note(ip netip.Addr, host []byte, ttl uint32) {
	until := int64(time.Since(m.start)/time.Second) + int64(ttl) + mappingExtra
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.at[ip]
	switch {
	case ok:
		m.unlink(i)
	case len(m.nodes) <= mappingSize:
		i = int32(len(m.nodes))
		m.nodes = append(m.nodes, mapped{})
	default: // the oldest goes
		i = m.nodes[0].prev
		m.unlink(i)
		delete(m.at, m.nodes[i].ip)
	}
	n := &m.nodes[i]
	if !ok {
		n.ip = ip
		m.at[ip] = i
	}
	if n.host != string(host) {
		n.host = string(host)
	}
	n.until = until
	head := &m.nodes[0]
	n.prev, n.next = 0, head.next
	m.nodes[head.next].prev = i
	head.next = i
}

func (m *Mapping) unlink(i int32) {
	n := m.nodes[i]
	m.nodes[n.prev].next, m.nodes[n.next].prev = n.next, n.prev
}

// Name returns the name that ip was given out for last.
func (m *Mapping) Name(ip netip.Addr) (host string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.at[ip]
	if !ok || m.nodes[i].until < int64(time.Since(m.start)/time.Second) {
		return "", false
	}
	return m.nodes[i].host, true
}
