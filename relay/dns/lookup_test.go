package dns

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/hosts"
)

// hostsTable is a table of entries, which alternate pattern and values.
func hostsTable(t testing.TB, list ...hosts.Listed) *hosts.Table {
	t.Helper()
	table, err := hosts.New(hosts.Config{Entries: list})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func listed(pattern string, values ...string) hosts.Listed {
	return hosts.Listed{Pattern: pattern, Values: values}
}

// byType answers each type in its own way.
func byType(a, aaaa zone) zone {
	return func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		if q.Question[0].Qtype == miekg.TypeAAAA {
			return aaaa(ctx, q)
		}
		return a(ctx, q)
	}
}

// TestLookup finds addresses for the daemon itself.
func TestLookup(t *testing.T) {
	four, six := says(miekg.RcodeSuccess, "@ 60 A 203.0.113.7", "@ 60 A 203.0.113.8"), says(miekg.RcodeSuccess, "@ 60 AAAA 2001:db8::7")
	both := byType(four, six)
	none, nowhere, broken := says(miekg.RcodeSuccess), says(miekg.RcodeNameError), says(miekg.RcodeServerFailure)
	table := []hosts.Listed{
		listed("mine.test", "192.0.2.1", "2001:db8::1"), listed("second.test", "first.test"), listed("first.test", "far.test"),
		listed("third.test", "mine.test"), listed("+.wild.test", "192.0.2.9"), listed("six.test", "2001:db8::1"),
	}
	f := func(z zone, ipv6 bool, host, want string, took time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			asked := zone(func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
				if name := q.Question[0].Name; name != "a.test." && name != "far.test." {
					t.Errorf("%s was asked for", name)
				}
				return z(ctx, q)
			})
			r := newResolver(t, Config{
				Servers: servers(t, asked), Hosts: hostsTable(t, table...), IPv6: ipv6, IPv6Timeout: 100 * time.Millisecond,
			})
			begin := time.Now()
			addrs, err := r.Lookup(t.Context(), host)
			got := fmt.Sprint(addrs)
			if err != nil {
				got = err.Error()
			}
			if got != want || time.Since(begin) != took {
				t.Errorf("%s: %s after %s; want %s after %s", host, got, time.Since(begin), want, took)
			}
		})
	}
	// Hosts come first, and lead on; a pattern holds too.
	f(both, true, "mine.test", "[192.0.2.1 2001:db8::1]", 0)
	f(both, true, "third.test", "[192.0.2.1 2001:db8::1]", 0)
	f(both, true, "x.wild.test", "[192.0.2.9]", 0)
	f(both, true, "second.test", "[203.0.113.7 203.0.113.8 2001:db8::7]", 0)
	// Of hosts, too, only the family that is of use.
	f(both, false, "mine.test", "[192.0.2.1]", 0)
	f(both, true, "six.test", "[2001:db8::1]", 0)
	f(both, false, "six.test", "hosts: the name has no address of type A", 0)
	// An address is its own.
	f(both, false, "192.0.2.3", "[192.0.2.3]", 0)
	f(both, false, "2001:db8::3", "[2001:db8::3]", 0)
	// Addresses of IPv6 come behind, and are waited for, though not for long.
	f(both, false, "a.test", "[203.0.113.7 203.0.113.8]", 0)
	f(byType(four.after(50*time.Millisecond), six), true, "a.test", "[203.0.113.7 203.0.113.8 2001:db8::7]", 50*time.Millisecond)
	f(byType(four, six.after(99*time.Millisecond)), true, "a.test", "[203.0.113.7 203.0.113.8 2001:db8::7]", 99*time.Millisecond)
	f(byType(four, six.after(101*time.Millisecond)), true, "a.test", "[203.0.113.7 203.0.113.8]", 100*time.Millisecond)
	f(byType(four, broken), true, "a.test", "[203.0.113.7 203.0.113.8]", 0)
	// Where there are no others, they are waited for.
	f(byType(none, six.after(time.Second)), true, "a.test", "[2001:db8::7]", time.Second)
	f(byType(broken, six), true, "a.test", "[2001:db8::7]", 0)
	f(byType(silent, six), true, "a.test", "[2001:db8::7]", queryTimeout)
	// Records of another type are no addresses of this one.
	f(byType(says(miekg.RcodeSuccess, "@ 60 AAAA 2001:db8::7", good), none), true, "a.test", "[203.0.113.7]", 0)
	// What is wrong is said.
	f(nowhere, true, "a.test", "there is no such name", 0)
	f(none, true, "a.test", "the name has no address of type A", 0)
	f(says(miekg.RcodeSuccess, "@ 60 CNAME b.test."), false, "a.test", "the name has no address of type A", 0)
	f(broken, true, "a.test", "all DNS requests failed, first error: udp://192.0.2.1:53: server failure: SERVFAIL", 0)
	f(silent, true, "a.test", "context deadline exceeded", queryTimeout)
	f(both, true, "a..test", "not a domain name: want labels of 1 to 63 bytes, and at most 253 in all", 0)
}

// TestLookupEndsWithItsContext, whatever the servers do.
func TestLookupEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ipv6 := range []bool{false, true} {
			r := newResolver(t, Config{Servers: servers(t, silent), IPv6: ipv6})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begin := time.Now()
			if addrs, err := r.Lookup(ctx, "a.test"); err == nil || time.Since(begin) != time.Second {
				t.Errorf("%v after %s", addrs, time.Since(begin))
			}
			cancel()
		}
	})
}
