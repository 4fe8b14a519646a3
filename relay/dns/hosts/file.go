package hosts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

const (
	fileTime = 5 * time.Second // until the file is looked at again
	maxFile  = 1 << 20         // bytes of it that are read
	maxNames = 64 << 10        // of all its lines
	maxAddrs = 64              // of one name
)

// file is the system's hosts file.
type file struct {
	path string
	skip func(name string) bool // names of which it is not asked
	log  *slog.Logger
	turn sync.Mutex // whoever holds it reads the file; nobody waits for it
	now  atomic.Pointer[content]
}

// content is what the file said when it was read last.
type content struct {
	addrs map[string][]netip.Addr
	names map[netip.Addr]string // the first of each address
	info  fs.FileInfo           // of what was read; nil: nothing
	until time.Time             // it is not looked at
	said  string                // why it cannot be read, or not all of it
}

func newFile(path string, skip func(string) bool, log *slog.Logger) *file {
	f := &file{path: path, skip: skip, log: log}
	f.now.Store(&content{})
	f.look()
	return f
}

// look returns what is in the file. Who comes first after a while looks whether it is another.
func (f *file) look() *content {
	k := f.now.Load()
	if time.Now().Before(k.until) || !f.turn.TryLock() {
		return k
	}
	defer f.turn.Unlock()
	if k = f.now.Load(); time.Now().Before(k.until) {
		return k
	}
	next := f.again(*k)
	next.until = time.Now().Add(fileTime)
	f.now.Store(&next)
	return &next
}

// again is what the file says now, where it has last said k.
func (f *file) again(k content) content {
	next, err := f.read(k)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return content{}
	case err != nil: // what it said before is better than nothing
		next.said = err.Error()
	}
	if next.said != "" && next.said != k.said {
		f.log.Warn("the system's hosts are not as their file has them", "err", next.said)
	}
	return next
}

func (f *file) read(k content) (content, error) {
	info, err := os.Stat(f.path)
	switch {
	case err != nil:
		return k, err
	case k.info != nil && same(k.info, info):
		return k, nil
	case !info.Mode().IsRegular():
		return k, fmt.Errorf("%s is no regular file", f.path)
	}
	r, err := os.Open(f.path)
	if err != nil {
		return k, err
	}
	defer r.Close()
	if info, err = r.Stat(); err != nil { // before it is read: what comes later is news
		return k, err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return k, err
	}
	next, whole := parse(string(text), f.skip)
	if next.info = info; !whole {
		next.said = fmt.Sprintf("%s is not read beyond %d bytes and %d names", f.path, maxFile, maxNames)
	}
	return next, nil
}

// same says whether a file looks as it did.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// parse reads lines of an address and names. It passes over those whose address is none, and over what
// is no name. whole is false where there is more than it reads.
func parse(text string, skip func(name string) bool) (c content, whole bool) {
	whole = len(text) <= maxFile
	if !whole {
		text = text[:strings.LastIndexByte(text[:maxFile], '\n')+1]
	}
	c = content{addrs: make(map[string][]netip.Addr), names: make(map[netip.Addr]string)}
	left := maxNames
	var one []netip.Addr // shared by names of the same address, such as the many that lists turn away
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		var ip netip.Addr
		for word := range strings.FieldsSeq(line) {
			if !ip.IsValid() {
				if ip = address(word); !ip.IsValid() {
					break
				}
				if len(one) == 0 || one[0] != ip {
					one = []netip.Addr{ip}
				}
				continue
			}
			if left == 0 {
				return c, false
			}
			left--
			if name, _, err := flow.ParseHost(word); err == nil && name != "" && !skip(name) {
				c.add(name, one)
			}
		}
	}
	return c, whole
}

func address(s string) netip.Addr {
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}
	}
	return ip.Unmap()
}

// add gives a name one more address.
func (c *content) add(name string, one []netip.Addr) {
	if _, ok := c.names[one[0]]; !ok {
		c.names[one[0]] = name
	}
	switch have := c.addrs[name]; {
	case have == nil:
		c.addrs[name] = one
	case len(have) < maxAddrs && !slices.Contains(have, one[0]):
		c.addrs[name] = append(have, one[0])
	}
}
