package state

import (
	"bytes"

	"go.etcd.io/bbolt"
)

var (
	validators    = []byte("validators")
	subscriptions = []byte("subscriptions")
)

// Memory keeps small values by name.
type Memory struct {
	s      *Store
	bucket []byte
}

// Memory keeps what servers said of the files that are at hand.
func (s *Store) Memory() Memory { return Memory{s, validators} }

// Facts keeps what servers said of subscriptions, such as how much of one is used up.
func (s *Store) Facts() Memory { return Memory{s, subscriptions} }

// Load returns the value that was saved under key. A store that cannot be read has none; Health says why.
func (m Memory) Load(key string) (value []byte, ok bool) {
	err := m.s.view(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(m.bucket); b != nil {
			value = bytes.Clone(b.Get([]byte(key)))
		}
		return nil
	})
	return value, err == nil && value != nil
}

// Save keeps value under key.
func (m Memory) Save(key string, value []byte) error {
	return m.s.update(true, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(m.bucket)
		if err != nil {
			return err
		}
		return b.Put([]byte(key), value)
	})
}

// Delete forgets what is kept under key; nothing is no error.
func (m Memory) Delete(key string) error { return m.s.remove(m.bucket, key) }

// remove deletes a key of a bucket, if both are there.
func (s *Store) remove(bucket []byte, key string) error {
	return s.update(false, func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucket); b != nil {
			return b.Delete([]byte(key))
		}
		return nil
	})
}
