package relay

import (
	"context"
	"errors"

	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// UseSockets makes r keep account of its listening sockets in s, and take those that a process before it has
// left. It is called before Run.
func (r *Relay) UseSockets(s *sysnet.Sockets) { r.sockets, r.dns.sockets = s, s }

// errYielded means that another process has taken over.
var errYielded = errors.New("another process has taken over")

// Yield holds r still while give starts another process in its place: nothing is accepted and nothing changes,
// what is to be remembered is in its file, and the file is left alone. Where give returns an error r goes on as
// before; else the sockets and the file are the other's, and Run is to end soon.
func (r *Relay) Yield(give func() error) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	if err := r.unchangeable(); err != nil {
		return err
	}
	r.sockets.Shut()
	defer func() {
		if r.yielded {
			r.sockets.Give()
		} else {
			r.sockets.Open()
		}
	}()
	r.dns.saveLeases()
	done := r.store.Lend()
	defer func() { done(r.yielded) }()
	err := give()
	if r.yielded = err == nil; r.yielded {
		r.signs.stopping.Store(true)
	}
	return err
}

// Leave has pack take what the next process gets, while nothing changes. Where it returns no error nothing changes
// any more: what pack has taken is what there is, and Run is to end soon.
func (r *Relay) Leave(pack func() error) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	if err := r.unchangeable(); err != nil {
		return err
	}
	if err := pack(); err != nil {
		return err
	}
	r.yielded = true
	r.signs.stopping.Store(true)
	return nil
}

// unchangeable says why no change begins any more. The caller holds applying.
func (r *Relay) unchangeable() error {
	switch {
	case r.ending:
		return errEnding
	case r.yielded:
		return errYielded
	}
	return nil
}

// Succeed serves the clients that wait at sockets which were left and have no place in the configuration, where
// their ports are served. It is called once, after the first Apply.
func (r *Relay) Succeed() {
	r.applying.Lock()
	defer r.applying.Unlock()
	r.inbounds.succeed()
}

// Linger makes Run, once it is to end, let connections that have been accepted go on until until is done or none
// is left. It is called before Run is to end.
func (r *Relay) Linger(until context.Context) { r.lingering.Store(&until) }

// linger waits as Linger said.
func (r *Relay) linger() {
	if until := r.lingering.Load(); until != nil {
		r.inbounds.linger(*until)
	}
}
