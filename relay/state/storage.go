package state

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

var storage = []byte("stored")

// Bounds of what clients keep here, in bytes.
const (
	MaxStored    = 1 << 20 // a value
	maxStoredKey = 1 << 10
	maxStoredAll = 64 << 20 // all values together
)

// maxStoredKeys is how many values there may be.
const maxStoredKeys = 1000

// ErrFull means that clients keep as much as they may; something has to be deleted first.
var ErrFull = errors.New("the storage is full")

// Stored returns the value that a client has put under key.
func (s *Store) Stored(key string) (value []byte, ok bool, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		value = nil
		if b := tx.Bucket(storage); b != nil {
			value = bytes.Clone(b.Get([]byte(key)))
		}
		return nil
	})
	return value, err == nil && value != nil, err
}

// PutStored keeps a client's value under key in place of the one that was there. It fails with ErrFull
// where that would be too much.
func (s *Store) PutStored(key string, value []byte) error {
	if len(key) == 0 || len(key) > maxStoredKey {
		return fmt.Errorf("storage: want a key of 1 to %d bytes, got %d", maxStoredKey, len(key))
	}
	if len(value) == 0 || len(value) > MaxStored {
		return fmt.Errorf("storage: want a value of 1 to %d bytes, got %d", MaxStored, len(value))
	}
	return s.update(true, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(storage)
		if err != nil {
			return err
		}
		if err := hasRoom(b, key, len(value)); err != nil {
			return err
		}
		return b.Put([]byte(key), value)
	})
}

// hasRoom fails with ErrFull unless size bytes may be kept under key.
func hasRoom(b *bbolt.Bucket, key string, size int) error {
	keys, all := 1, size
	err := b.ForEach(func(k, v []byte) error {
		if string(k) != key {
			keys, all = keys+1, all+len(v)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case keys > maxStoredKeys:
		return fmt.Errorf("%w: at most %d keys", ErrFull, maxStoredKeys)
	case all > maxStoredAll:
		return fmt.Errorf("%w: at most %d bytes", ErrFull, maxStoredAll)
	}
	return nil
}

// DeleteStored forgets what is kept under key; nothing is no error.
func (s *Store) DeleteStored(key string) error { return s.remove(storage, key) }
