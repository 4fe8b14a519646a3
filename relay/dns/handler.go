package dns

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/switchyard-proxy/switchyard/relay/dns/fakeip"
	"github.com/switchyard-proxy/switchyard/relay/dns/hosts"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

const hostsTTL = 60 // seconds

// Fake gives names addresses that mean them.
type Fake struct {
	V4, V6 *fakeip.Pool // nil: none of that family
	TTL    uint32       // seconds
	// Real says whether a name gets its real addresses. host is not to be kept.
	Real func(host string) bool

	unknown rarely
}

// LogUnknown says at times that somebody connects to a fake address that stands for no name.
func (f *Fake) LogUnknown(log *slog.Logger, ip netip.Addr) {
	if f.unknown.due() {
		log.Warn("somebody connects to a fake address that stands for no name, or no longer: it asked before the last start or flush (store-fake-ip keeps addresses)",
			"address", ip.String())
	}
}

// Pools are those there are.
func (f *Fake) Pools() []*fakeip.Pool {
	return slices.DeleteFunc([]*fakeip.Pool{f.V4, f.V6}, func(p *fakeip.Pool) bool { return p == nil })
}

func (f *Fake) pool(kind uint16) *fakeip.Pool {
	switch kind {
	case wire.TypeA:
		return f.V4
	case wire.TypeAAAA:
		return f.V6
	}
	return nil
}

// Handler answers clients. It is not changed once it is in use.
type Handler struct {
	Resolver *Resolver
	Hosts    *hosts.Table // nil: names of hosts are not looked for
	Fake     *Fake        // nil: real addresses
	Mapping  *Mapping     // what was given out
	IPv6     bool         // whether clients get IPv6 addresses
	Log      *slog.Logger

	inner bool // the question is one that it has itself: it is not counted
}

// count counts a client's question.
func (h *Handler) count(how answered) {
	if !h.inner && h.Resolver != nil {
		h.Resolver.c.Life.answered(how)
	}
}

// Quick appends the answer to q if nobody has to be asked for it. limit is the most bytes that the
// client takes. It allocates nothing.
func (h *Handler) Quick(dst []byte, q *wire.Query, limit int) (answer []byte, ok bool) {
	if q.Class != wire.ClassIN {
		h.count(refused)
		return q.AppendEmpty(dst, wire.Refused), true
	}
	switch q.Type {
	case wire.TypeAXFR, wire.TypeIXFR, wire.TypeOPT:
		h.count(refused)
		return q.AppendEmpty(dst, wire.Refused), true
	case 0:
		h.count(refused)
		return q.AppendEmpty(dst, wire.FormatError), true
	}
	if name, plain := q.Host(); len(name) > 0 {
		if answer, ok, slow := h.own(dst, q, name, plain, limit); ok || slow {
			return answer, ok
		}
	}
	if q.Type == wire.TypeAAAA && !h.IPv6 {
		h.count(byNothing)
		return q.AppendEmpty(dst, wire.Success), true
	}
	f, ok := h.Resolver.Cached(q)
	if !ok {
		return dst, false
	}
	h.note(q, &f)
	h.count(byCache)
	return f.Append(dst, q, limit), true
}

// own answers about names and addresses that are the configuration's. slow is that hosts leads on to
// another name. A name that is not plain has no entry and no fake address, and no real one either where
// its like would have a fake one.
func (h *Handler) own(dst []byte, q *wire.Query, name []byte, plain bool, limit int) (answer []byte, ok, slow bool) {
	if q.Type == wire.TypePTR {
		return h.reverse(dst, q, name, limit)
	}
	if !leadsToAddrs(q.Type) {
		return dst, false, false
	}
	if h.Hosts != nil && plain {
		if e, ok := h.Hosts.Find(name); ok {
			if e.Alias != "" {
				return dst, false, true
			}
			h.count(byHosts)
			return q.AppendAddrs(dst, hostsTTL, limit, e.Addrs...), true, false
		}
	}
	if h.Fake == nil {
		return dst, false, false
	}
	if h.Fake.Real(unsafe.String(unsafe.SliceData(name), len(name))) {
		for _, p := range []*fakeip.Pool{h.Fake.V4, h.Fake.V6} { // an old lease is wrong now
			if p != nil && p.Has(name) {
				p.Drop(name)
			}
		}
		return dst, false, false
	}
	if p := h.Fake.pool(q.Type); p != nil && plain && (q.Type == wire.TypeA || h.IPv6) {
		h.count(byFake)
		return q.AppendAddrs(dst, h.Fake.TTL, limit, p.Lease(name)), true, false
	}
	h.count(byNothing)
	return q.AppendEmpty(dst, wire.Success), true, false
}

// leadsToAddrs says whether records of a type are addresses, or may hold or lead to some.
func leadsToAddrs(kind uint16) bool {
	switch kind {
	case wire.TypeA, wire.TypeAAAA, wire.TypeCNAME, wire.TypeDNAME, wire.TypeHTTPS, wire.TypeSVCB, wire.TypeANY:
		return true
	}
	return false
}

// reverse answers who has an address: what was given out for it.
func (h *Handler) reverse(dst []byte, q *wire.Query, name []byte, limit int) (answer []byte, ok, slow bool) {
	ip, ok := reverseAddr(name)
	if !ok {
		return dst, false, false
	}
	if h.Hosts != nil {
		if host, ok := h.Hosts.Name(ip); ok {
			h.count(byHosts)
			return q.AppendName(dst, wire.TypePTR, hostsTTL, limit, host), true, false
		}
	}
	if h.Fake == nil {
		return dst, false, false
	}
	for _, p := range []*fakeip.Pool{h.Fake.V4, h.Fake.V6} {
		if p == nil || !p.Contains(ip) {
			continue
		}
		h.count(byFake)
		if host, ok := p.Name(ip); ok {
			return q.AppendName(dst, wire.TypePTR, h.Fake.TTL, limit, host), true, false
		}
		return q.AppendEmpty(dst, wire.NameError), true, false
	}
	return dst, false, false
}

// note remembers which name the addresses of an answer are given out for.
func (h *Handler) note(q *wire.Query, f *Found) {
	if h.Mapping == nil || len(f.Addrs) == 0 || !q.AsksAddrs() {
		return
	}
	name, ok := q.Host()
	if !ok {
		return
	}
	for _, ip := range f.Addrs {
		h.Mapping.Note(ip, name, f.TTL)
	}
}

// Answer appends the answer to q, for which name servers may be asked. What fails is an answer too.
func (h *Handler) Answer(ctx context.Context, dst []byte, q *wire.Query, limit int) []byte {
	if answer, ok := h.Quick(dst, q, limit); ok {
		return answer
	}
	if name, ok := q.Host(); ok && h.Hosts != nil && leadsToAddrs(q.Type) {
		if e, ok := h.Hosts.Find(name); ok && e.Alias != "" {
			h.count(byHosts)
			return h.alias(ctx, dst, q, e.Alias, limit)
		}
	}
	f, err := h.Resolver.exchangeOf(ctx, q, maxOfClients)
	if err != nil {
		h.failed(q, err)
		h.count(failed)
		return q.AppendEmpty(dst, wire.ServerFailure)
	}
	h.note(q, &f)
	if f.Stale {
		h.count(byStale)
	} else {
		h.count(byServer)
	}
	return f.Append(dst, q, limit)
}

// alias answers with the name that hosts has in place of that of q, and its addresses.
func (h *Handler) alias(ctx context.Context, dst []byte, q *wire.Query, to string, limit int) []byte {
	if !q.AsksAddrs() {
		return q.AppendName(dst, wire.TypeCNAME, hostsTTL, limit, to)
	}
	e, known := h.Hosts.Resolve(to)
	if known && e.Alias != "" {
		to = e.Alias // the names between are left out
	}
	var target wire.Query
	if target.Set(to, q.Type) != nil {
		return q.AppendName(dst, wire.TypeCNAME, hostsTTL, limit, to)
	}
	var buf [wire.UDPSize]byte
	message := buf[:0]
	if known && e.Alias == "" {
		message = target.AppendAddrs(message, hostsTTL, wire.MaxSize, e.Addrs...)
	} else {
		message = (&Handler{Resolver: h.Resolver, Fake: h.Fake, Mapping: h.Mapping, IPv6: h.IPv6, Log: h.Log, inner: true}).Answer(ctx, message, &target, wire.MaxSize)
	}
	a, err := wire.Scan(message)
	if err != nil {
		return q.AppendEmpty(dst, wire.ServerFailure)
	}
	if a.RCode() != wire.Success {
		return q.AppendEmpty(dst, uint16(a.RCode()))
	}
	ttl := uint32(hostsTTL)
	if a.TTL > 0 || len(a.Addrs) > 0 {
		ttl = min(ttl, a.TTL)
	}
	return q.AppendAlias(dst, ttl, limit, to, a.Addrs)
}

// failed says why q has no answer.
func (h *Handler) failed(q *wire.Query, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return
	}
	name, _ := q.Host()
	h.Log.Debug("no answer", "name", string(name), "type", q.Type, "err", err)
}

// reverseAddr reads the name under which an address has its record of type PTR.
func reverseAddr(name []byte) (ip netip.Addr, ok bool) {
	const v4, v6 = ".in-addr.arpa", ".ip6.arpa"
	switch n := len(name); {
	case n > len(v4) && string(name[n-len(v4):]) == v4:
		return reverse4(name[:n-len(v4)])
	case n == 63+len(v6) && string(name[63:]) == v6:
		return reverse6(name[:63])
	}
	return ip, false
}

func reverse4(digits []byte) (ip netip.Addr, ok bool) {
	var b [4]byte
	at, value, size := 3, 0, 0
	for i := 0; i <= len(digits); i++ {
		if i == len(digits) || digits[i] == '.' {
			if size == 0 || at < 0 {
				return ip, false
			}
			b[at] = byte(value)
			at, value, size = at-1, 0, 0
			continue
		}
		c := digits[i]
		if c < '0' || c > '9' || size == 3 {
			return ip, false
		}
		if value = value*10 + int(c-'0'); value > 255 {
			return ip, false
		}
		size++
	}
	return netip.AddrFrom4(b), at == -1
}

func reverse6(digits []byte) (ip netip.Addr, ok bool) {
	var b [16]byte
	for i := range 32 {
		c := digits[2*i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return ip, false
		}
		if i < 31 && digits[2*i+1] != '.' {
			return ip, false
		}
		b[15-i/2] |= c << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}
