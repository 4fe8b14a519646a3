package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	resolvConf = "/etc/resolv.conf"
	// lookTime is how often the file is looked at, at most.
	lookTime = 5 * time.Second
	// maxResolvConf is how much of the file is read, in bytes.
	maxResolvConf = 64 << 10
)

// system asks the servers that the system's resolver uses.
type system struct {
	path    string
	now     func() time.Time
	servers several

	mu     sync.Mutex
	looked time.Time
	had    fs.FileInfo // of the file as it was read; nil: it was not
	err    error       // why there are no servers
}

func newSystem(c Config) *system {
	return &system{path: resolvConf, now: time.Now, servers: several{config: c}}
}

// Exchange asks one server of the file after the other.
func (s *system) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	if err := s.look(); err != nil {
		return nil, err
	}
	return s.servers.Exchange(ctx, query)
}

// Close ends all that is asked.
func (s *system) Close() error { return s.servers.Close() }

// look reads the file where it has changed, and says why there is no server.
func (s *system) look() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !s.looked.IsZero() && now.Sub(s.looked) < lookTime {
		return s.err
	}
	s.looked = now
	info, err := os.Stat(s.path)
	if err == nil && s.had != nil && info.Size() == s.had.Size() && info.ModTime().Equal(s.had.ModTime()) {
		return s.err
	}
	addrs, err := readResolvConf(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.err = fmt.Errorf("the name servers of the system are not known, because there is no %s: name a server instead of system", s.path)
	case err != nil:
		s.err = fmt.Errorf("the name servers of the system: %w", err)
	case len(addrs) == 0:
		s.err = fmt.Errorf("%s names no name server: want a line such as nameserver 192.0.2.53", s.path)
	default:
		s.err = nil
		s.servers.set(addrs)
	}
	if err != nil {
		info = nil
	}
	s.had = info
	return s.err
}

// readResolvConf returns the addresses of the lines that name a server. Those with a zone are left out.
func readResolvConf(path string) ([]netip.Addr, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var addrs []netip.Addr
	lines := bufio.NewScanner(io.LimitReader(f, maxResolvConf))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		ip, err := netip.ParseAddr(words[1])
		if ip = ip.Unmap(); err == nil && ip.Zone() == "" && !slices.Contains(addrs, ip) {
			addrs = append(addrs, ip)
		}
	}
	return addrs, lines.Err()
}
