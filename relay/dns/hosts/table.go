package hosts

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// Config says where a table has its names from.
type Config struct {
	Entries []Listed
	System  bool         // also those of the system's file
	File    string       // that file; "": /etc/hosts
	Log     *slog.Logger // nil: none
}

// Table finds names and addresses. What Entries says of a name comes before the file, and what either
// says before localhost being 127.0.0.1 and ::1. Its methods may be called from any goroutine. None waits
// for another; once in a few seconds one of them looks at the file.
type Table struct {
	list
	names    map[netip.Addr]string // of the entries of one name
	local    string                // the first of them that is the machine; "": none
	lan      lan
	file     *file        // nil: it is not used
	loopback []netip.Addr // of localhost
}

const localhost = "localhost"

// New reads the entries, and the file. Of two entries with the same pattern the first stays.
func New(c Config) (*Table, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Table{
		names:    make(map[netip.Addr]string),
		lan:      lan{read: net.InterfaceAddrs},
		loopback: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()},
	}
	for _, e := range c.Entries {
		switch err := t.add(e); {
		case errors.Is(err, match.ErrTwice):
			c.Log.Warn("a host is listed twice, and the first entry stands", "host", e.Pattern)
		case err != nil:
			return nil, fmt.Errorf("hosts: %s: %w", e.Pattern, err)
		}
	}
	if way := t.cycle(); way != nil {
		return nil, fmt.Errorf("hosts: names that lead in a circle: %s", strings.Join(way, " → "))
	}
	for _, o := range t.entries {
		t.note(o)
	}
	if c.System {
		t.file = newFile(cmp.Or(c.File, "/etc/hosts"), t.knows, c.Log)
	}
	return t, nil
}

// note remembers which name an entry's addresses have. An address has the first one.
func (t *Table) note(o own) {
	if strings.HasPrefix(o.pattern, "+.") || o.pattern[0] == '.' || strings.Contains(o.pattern, "*") {
		return
	}
	if o.lan {
		t.local = cmp.Or(t.local, o.pattern)
	}
	for _, ip := range o.Addrs {
		if _, ok := t.names[ip]; !ok {
			t.names[ip] = o.pattern
		}
	}
}

// knows says whether an entry decides about name.
func (t *Table) knows(name string) bool {
	_, ok := t.find.Find(name)
	return ok
}

// Find returns the entry of name, which is in lower case and has no trailing dot. An alias is not
// followed. The bytes are not kept.
func (t *Table) Find(name []byte) (e Entry, ok bool) {
	if i, ok := t.find.FindBytes(name); ok {
		if t.entries[i].lan {
			return Entry{Addrs: t.lan.addrs()}, true
		}
		return t.entries[i].Entry, true
	}
	if t.file != nil {
		if addrs, ok := t.file.look().addrs[string(name)]; ok {
			return Entry{Addrs: addrs}, true
		}
	}
	if string(name) == localhost {
		return Entry{Addrs: t.loopback}, true
	}
	return Entry{}, false
}

// maxAliases bounds how many aliases Resolve follows for a name.
const maxAliases = 16

// Resolve is Find that follows aliases. The entry has addresses, or the alias that is not in the table,
// or comes after sixteen others.
func (t *Table) Resolve(name string) (Entry, bool) {
	e, ok := t.Find([]byte(name))
	for range maxAliases {
		if e.Alias == "" {
			break
		}
		next, known := t.Find([]byte(e.Alias))
		if !known {
			break
		}
		e = next
	}
	return e, ok
}

// Name returns a name of ip that the table has and that stands in it by itself, for questions of what an
// address is called. Those of Entries come first.
func (t *Table) Name(ip netip.Addr) (string, bool) {
	ip = ip.Unmap()
	if name, ok := t.names[ip]; ok {
		return name, true
	}
	if t.local != "" && slices.Contains(t.lan.addrs(), ip) {
		return t.local, true
	}
	if t.file != nil {
		if name, ok := t.file.look().names[ip]; ok {
			return name, true
		}
	}
	if slices.Contains(t.loopback, ip) && !t.knows(localhost) {
		return localhost, true
	}
	return "", false
}
