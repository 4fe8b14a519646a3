package sysnet

import (
	"net"
	"sync"
)

// UnixListener accepts on a path of the file system.
type UnixListener struct {
	*net.UnixListener
	held *held
	once sync.Once
}

// ListenUnix binds path, where nothing may be.
func ListenUnix(path string, o Options) (*UnixListener, error) {
	ln, adopted, err := listenUnix(path, o)
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
	k := Socket{Network: "unix", Owner: o.Owner, Asked: path, Bound: path, File: fileID(path)}
	return &UnixListener{UnixListener: l, held: o.Sockets.hold(k, adopted, raw, l.SetDeadline)}, nil
}

func listenUnix(path string, o Options) (ln net.Listener, adopted bool, err error) {
	if k, ok := o.Sockets.take("unix", path, o); ok {
		ln, err = adoptListener(k, o)
		return ln, true, err
	}
	ln, err = net.Listen("unix", path)
	return ln, false, err
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
			return nil, l.held.last(err)
		}
	}
}

// Close stops listening and removes the path, unless the socket is another process's or the path leads elsewhere.
func (l *UnixListener) Close() error {
	l.held.drop()
	err := l.UnixListener.Close()
	l.once.Do(func() {
		if !l.held.isOthers() {
			l.held.socket.unlink()
		}
	})
	return err
}
