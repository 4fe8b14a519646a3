//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"
)

// manyNames is how many names there are of each kind.
const manyNames = 500

var fakeRange = netip.MustParsePrefix("198.18.0.0/16")

func (s *soak) names() []task {
	return []task{
		every(2*time.Millisecond, func(context.Context, int) error { _, err := s.ask("udp", "real"); return err }),
		every(2*time.Millisecond, func(context.Context, int) error { _, err := s.ask("udp", "fake"); return err }),
		every(20*time.Millisecond, func(context.Context, int) error { _, err := s.ask("tcp", "real"); return err }),
		every(100*time.Millisecond, s.byFakeIP),
	}
}

// ask asks the daemon for a name and judges the answer. Over UDP there may be none, and then the address is not
// valid.
func (s *soak) ask(network, kind string) (netip.Addr, error) {
	name := fmt.Sprintf("n%d.%s.test.", rand.IntN(manyNames), kind)
	c := dns.Client{Net: network, Timeout: 2 * time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), s.dns)
	s.done.questions.Add(1)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		s.done.unanswered.Add(1)
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, err
	}
	if m.Rcode == dns.RcodeServerFailure { // the name server behind it was too slow
		s.done.unanswered.Add(1)
		return netip.Addr{}, nil
	}
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
		return netip.Addr{}, fmt.Errorf("%s: %v", name, m)
	}
	a, ok := m.Answer[0].(*dns.A)
	if !ok {
		return netip.Addr{}, fmt.Errorf("%s: %v", name, m)
	}
	ip, _ := netip.AddrFromSlice(a.A.To4())
	if kind == "fake" && !fakeRange.Contains(ip) || kind == "real" && !ip.IsLoopback() {
		return netip.Addr{}, fmt.Errorf("%s is %v", name, ip)
	}
	return ip, nil
}

// byFakeIP connects to the address that stands for a name.
func (s *soak) byFakeIP(ctx context.Context, _ int) error {
	ip, err := s.ask("udp", "fake")
	if err != nil || !ip.IsValid() {
		return err
	}
	c, err := s.dial(ctx, false, ip.String())
	if err != nil {
		return err
	}
	defer c.Close()
	s.done.byFakeIP.Add(1)
	return trip(c, 1000)
}
