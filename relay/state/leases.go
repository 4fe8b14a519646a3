package state

import (
	"errors"
	"net/netip"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The buckets of the leases are those of the family too. Beside an address as key and its name, others
// keep the same the other way around, which is passed over.
var (
	leases4 = []byte("fakeip")
	leases6 = []byte("fakeip6")
)

// maxName bounds the name of a lease, in bytes.
const maxName = 255

// Leases keeps which name was given which address. Addresses outside of the range in question are
// neither told nor changed, unless it says otherwise.
type Leases struct{ s *Store }

// Leases is the part of the store that is one.
func (s *Store) Leases() Leases { return Leases{s} }

func bucketOf(r netip.Prefix) []byte {
	if r.Addr().Is4() {
		return leases4
	}
	return leases6
}

// LoadLeases calls each with every lease of r, in the order of the addresses. each must not use the
// store.
func (l Leases) LoadLeases(r netip.Prefix, each func(ip netip.Addr, name string)) error {
	return l.s.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketOf(r))
		if b == nil {
			return nil
		}
		first := r.Masked().Addr().AsSlice()
		c := b.Cursor()
		for k, v := c.Seek(first); k != nil; k, v = c.Next() {
			if len(k) != len(first) {
				continue
			}
			ip, _ := netip.AddrFromSlice(k)
			if !r.Contains(ip) {
				return nil // none behind it is
			}
			if looksLikeName(v) {
				each(ip, string(v))
			}
		}
		return nil
	})
}

// looksLikeName says whether what stands for a name can be one: printable bytes, and not too many.
func looksLikeName(v []byte) bool {
	for _, c := range v {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(v) > 0 && len(v) <= maxName
}

// SaveLeases keeps the names of set and forgets the addresses of gone, all of them or, where it returns
// an error, none.
func (l Leases) SaveLeases(r netip.Prefix, set map[netip.Addr]string, gone []netip.Addr) error {
	if len(set) == 0 && len(gone) == 0 {
		return nil
	}
	return l.s.update(len(set) > 0, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketOf(r))
		if err != nil {
			return err
		}
		for _, ip := range gone {
			if r.Contains(ip) {
				if err := b.Delete(ip.AsSlice()); err != nil {
					return err
				}
			}
		}
		for ip, name := range set {
			if r.Contains(ip) {
				if err := b.Put(ip.AsSlice(), []byte(name)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// ClearLeases forgets all leases of r's family, also those outside of r.
func (l Leases) ClearLeases(r netip.Prefix) error {
	return l.s.update(false, func(tx *bbolt.Tx) error {
		err := tx.DeleteBucket(bucketOf(r))
		if errors.Is(err, berrors.ErrBucketNotFound) {
			return nil
		}
		return err
	})
}
