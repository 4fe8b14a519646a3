package sysnet

import (
	"net"
	"os"
	"sync"
)

// UnixListener accepts on a path of the file system.
type UnixListener struct {
	*net.UnixListener
	path string
	held *held
	once sync.Once
}

// ListenUnix binds path, where nothing may be.
func ListenUnix(path string, o Options) (*UnixListener, error) {
	k := Socket{Network: "unix", Asked: path, Bound: path}
	ln, err := listenUnix(path, o)
	if err != nil {
		return nil, err
	}
	l := ln.(*net.UnixListener)
	l.SetUnlinkOnClose(false) // Close does that, unless another process has the socket
	raw, err := l.SyscallConn()
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return &UnixListener{UnixListener: l, path: path, held: o.Sockets.hold(k, raw, l.SetDeadline)}, nil
}

func listenUnix(path string, o Options) (net.Listener, error) {
	if k, ok := o.Sockets.take("unix", path, false); ok {
		return adoptListener(k, o)
	}
	return net.Listen("unix", path)
}

// Accept waits for the next connection.
func (l *UnixListener) Accept() (net.Conn, error) {
	for {
		l.held.pass()
		c, err := l.AcceptUnix()
		switch {
		case err == nil:
			return c, nil
		case !l.held.again(err):
			return nil, err
		}
	}
}

// Close stops listening and removes the path, unless the socket was given to another process.
func (l *UnixListener) Close() error {
	l.held.drop()
	err := l.UnixListener.Close()
	l.once.Do(func() {
		if l.held.all == nil || !l.held.all.given.Load() {
			_ = os.Remove(l.path)
		}
	})
	return err
}
