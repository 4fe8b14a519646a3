package group

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/net/publicsuffix"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// jump is the bucket of key among n: with one more bucket only every n-th key moves, and all of those to
// the new one (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm").
func jump(key uint64, n int) int {
	bucket, next := int64(0), int64(0)
	for next < int64(n) {
		bucket = next
		key = key*2862933555777941757 + 1
		next = int64(float64(bucket+1) * (float64(1<<31) / float64(key>>33+1)))
	}
	return int(bucket)
}

// mix spreads what differs in a few bits over all of them.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// hashString is the same after a restart: what belongs to a member stays with it.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

func hashAddr(ip netip.Addr) uint64 {
	b := ip.As16() // that of no address is all zero
	return mix(binary.BigEndian.Uint64(b[:8])*31 + mix(binary.BigEndian.Uint64(b[8:])))
}

// registrable is the part of a name that somebody can register (eTLD+1); a public suffix is its own.
func registrable(host string) string {
	suffix, _ := publicsuffix.PublicSuffix(host)
	end := len(host) - len(suffix) - 1
	if end <= 0 || host[end] != '.' {
		return host
	}
	return host[1+strings.LastIndexByte(host[:end], '.'):]
}

// domains remembers the hashes of the registrable parts of names: to find one takes long and allocates.
type domains struct {
	slots [512]atomic.Pointer[domain]
}

type domain struct {
	host string
	key  uint64
}

// target is the hash of where f goes, by its name or else its address.
func (d *domains) target(f *flow.Flow) uint64 {
	switch {
	case f == nil:
		return 0
	case f.To.Host == "":
		return hashAddr(f.To.IP)
	}
	slot := &d.slots[hashString(f.To.Host)%uint64(len(d.slots))]
	if known := slot.Load(); known != nil && known.host == f.To.Host {
		return known.key
	}
	key := hashString(registrable(f.To.Host))
	slot.Store(&domain{strings.Clone(f.To.Host), key})
	return key
}
