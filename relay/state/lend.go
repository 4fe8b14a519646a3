package state

import "errors"

// errGone means that the file was given away.
var errGone = errors.New("state: another process has taken over")

// Lend stores the choices that wait and closes the file, so that another process can open it. Whoever uses the store waits until the caller calls
// done, once: with true the file is the other's for good, and every use is an error; else it is opened again at the
// next use.
func (s *Store) Lend() (done func(gone bool)) {
	if len(s.waiting()) > 0 {
		_ = s.update(true, nothing) // note has the error
	}
	s.mu.Lock()
	if s.db != nil {
		if err := s.db.Close(); err != nil {
			s.log.Warn("close the state", "file", s.path, "err", err)
		}
		s.db = nil
	}
	return func(gone bool) {
		s.gone = gone
		s.mu.Unlock()
	}
}
