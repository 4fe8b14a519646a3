package state

import (
	"maps"

	"go.etcd.io/bbolt"
)

var selected = []byte("selected")

// Selections returns the chosen or pinned member of each group, also what could not be stored yet. With
// an error what is in the file is missing.
func (s *Store) Selections() (map[string]string, error) {
	chosen := make(map[string]string)
	err := s.view(func(tx *bbolt.Tx) error {
		clear(chosen)
		b := tx.Bucket(selected)
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			chosen[string(k)] = string(v)
			return nil
		})
	})
	s.told.Lock()
	defer s.told.Unlock()
	maps.Copy(chosen, s.unsaved)
	maps.Copy(s.known, chosen)
	return chosen, err
}

// Select remembers that group has chosen member; an empty member is that a pin was taken out. With an
// error it is kept in memory until it can be stored, which Serve and every other write try.
func (s *Store) Select(group, member string) error {
	s.told.Lock()
	s.known[group], s.unsaved[group] = member, member
	s.told.Unlock()
	return s.update(true, nothing)
}

func putChoices(tx *bbolt.Tx, choices map[string]string) error {
	if len(choices) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(selected)
	if err != nil {
		return err
	}
	for group, member := range choices {
		if err := b.Put([]byte(group), []byte(member)); err != nil {
			return err
		}
	}
	return nil
}

// waiting are the choices that the file does not have.
func (s *Store) waiting() map[string]string {
	s.told.Lock()
	defer s.told.Unlock()
	return maps.Clone(s.unsaved)
}

// saved notes that the file has choices now; mu is held. One that was made since then is another.
func (s *Store) saved(choices map[string]string) {
	s.told.Lock()
	defer s.told.Unlock()
	for group, member := range choices {
		if s.unsaved[group] == member {
			delete(s.unsaved, group)
		}
	}
}
