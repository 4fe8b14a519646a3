package state

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func loadLeases(t *testing.T, s *Store, r string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	var last netip.Addr
	err := s.Leases().LoadLeases(netip.MustParsePrefix(r), func(ip netip.Addr, name string) {
		if ip.Less(last) {
			t.Errorf("%s after %s", ip, last)
		}
		last = ip
		got[ip.String()] = name
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func saveLeases(t *testing.T, s *Store, r, set, gone string) {
	t.Helper()
	names := make(map[netip.Addr]string)
	for lease := range strings.FieldsSeq(set) {
		ip, name, _ := strings.Cut(lease, "=")
		names[netip.MustParseAddr(ip)] = name
	}
	var ended []netip.Addr
	for ip := range strings.FieldsSeq(gone) {
		ended = append(ended, netip.MustParseAddr(ip))
	}
	if err := s.Leases().SaveLeases(netip.MustParsePrefix(r), names, ended); err != nil {
		t.Fatal(err)
	}
}

func TestLeases(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path, slog.New(slog.DiscardHandler))
	f := func(r string, want map[string]string) {
		t.Helper()
		if got := loadLeases(t, s, r); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", r, got, want)
		}
	}
	// Neither reading nor forgetting makes a file.
	f("198.18.0.0/16", map[string]string{})
	saveLeases(t, s, "198.18.0.0/16", "", "198.18.0.4")
	if err := s.Leases().ClearLeases(netip.MustParsePrefix("198.18.0.0/16")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal("there is a file")
	}
	// Leases are kept over a restart, one name for an address.
	saveLeases(t, s, "198.18.0.0/16", "198.18.0.4=a.test 198.18.0.5=b.test 198.18.0.6=c.test", "")
	saveLeases(t, s, "198.18.0.0/16", "198.18.0.5=d.test", "198.18.0.6")
	saveLeases(t, s, "fd00::/64", "fd00::4=a.test", "")
	saveLeases(t, s, "10.0.0.0/8", "10.0.0.4=e.test 198.18.0.4=other.test", "198.18.0.4")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = New(path, slog.New(slog.DiscardHandler))
	defer s.Close()
	f("198.18.0.0/16", map[string]string{"198.18.0.4": "a.test", "198.18.0.5": "d.test"})
	f("198.18.0.1/16", map[string]string{"198.18.0.4": "a.test", "198.18.0.5": "d.test"})
	f("198.18.0.5/32", map[string]string{"198.18.0.5": "d.test"})
	f("10.0.0.0/8", map[string]string{"10.0.0.4": "e.test"})
	f("fd00::/64", map[string]string{"fd00::4": "a.test"})
	// What is cleared is a family.
	if err := s.Leases().ClearLeases(netip.MustParsePrefix("198.18.0.0/16")); err != nil {
		t.Fatal(err)
	}
	f("0.0.0.0/0", map[string]string{})
	f("fd00::/64", map[string]string{"fd00::4": "a.test"})
}

// TestLeasesOfOthers reads a bucket in which much is no lease.
func TestLeasesOfOthers(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), FileName), slog.New(slog.DiscardHandler))
	defer s.Close()
	err := s.update(true, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(leases4)
		for key, value := range map[string]string{
			"\x0a\x00\x00\x04":  "a.test",
			"\x0a\x00\x00\x05":  "",
			"\x0a\x00\x00\x06":  "\x0a\x00\x00\x04",
			"\x0a\x00\x00\x07":  strings.Repeat("a", 256),
			"\x0a\x00\x00\x08":  "b.test",
			"\x0a\x00\x00":      "short.test",
			"\x0a\x00\x00\x05a": "long.test",
			"a.test":            "\x0a\x00\x00\x04",
			"a.io":              "\x0a\x00\x00\x09",
		} {
			if err == nil {
				err = b.Put([]byte(key), []byte(value))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"10.0.0.4": "a.test", "10.0.0.8": "b.test"}
	if got := loadLeases(t, s, "10.0.0.0/8"); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestLeasesInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path, slog.New(slog.DiscardHandler))
	defer s.Close()
	saveLeases(t, s, "10.0.0.0/8", "10.0.0.4=a.test", "")
	other := New(path, slog.New(slog.DiscardHandler))
	defer other.Close()
	r := netip.MustParsePrefix("10.0.0.0/8")
	for _, err := range []error{
		other.Leases().LoadLeases(r, nil),
		other.Leases().SaveLeases(r, nil, []netip.Addr{r.Addr()}),
		other.Leases().ClearLeases(r),
	} {
		if err == nil || !strings.Contains(fmt.Sprint(err), "in use by another process") {
			t.Error(err)
		}
	}
}
