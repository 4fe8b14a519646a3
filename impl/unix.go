package impl

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// unix keeps or binds the Unix socket at path. It is open to root, to the daemon's user and to the
// owner of the home directory, by what the kernel says of the peer.
func (ch *change) unix(path, home string) error {
	e := endpoint{"unix", path}
	if l := ch.c.live[e]; l != nil {
		ch.live[e] = l
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if !ch.c.o.Sockets.Left("unix", path) {
		if err := clearPath(path); err != nil {
			return err
		}
	}
	ln, err := sysnet.ListenUnix(path, sysnet.Options{Sockets: ch.c.o.Sockets, Owner: "controller-unix"})
	if err != nil {
		return err
	}
	ch.add(e, &listener{Listener: &peerListener{Listener: ln, allowed: peers(home)}})
	return openTo(path, home)
}

// clearPath makes room for a socket where only one is that nobody listens on.
func clearPath(path string) error {
	there, err := occupied(path)
	if err != nil || !there {
		return err
	}
	return os.Remove(path)
}

// occupied says whether something is at path, with an error where it has to stay there.
func occupied(path string) (there bool, err error) {
	st, err := os.Lstat(path)
	if err != nil {
		return false, nil
	}
	if st.Mode()&os.ModeSocket == 0 {
		return true, fmt.Errorf("%s is there already and no socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return true, fmt.Errorf("%s is in use by another process", path)
	}
	return true, nil
}

// CheckPaths says whether the Unix socket of c could be bound by a process that is given the sockets in mine. It
// changes nothing.
func CheckPaths(c *config.Config, mine *sysnet.Sockets) error {
	path := unixPath(c)
	if path == "" || mine.HasUnix(path) {
		return nil
	}
	if _, err := occupied(path); err != nil {
		return fmt.Errorf("external-controller-unix: %w", err)
	}
	return nil
}

// openTo sets the mode of a Unix socket. When another user owns the home directory the socket must
// let everybody knock; the peer's identity then decides.
func openTo(path, home string) error {
	mode := os.FileMode(0o600)
	if owner, ok := sysnet.Owner(home); ok && int(owner) != os.Geteuid() {
		mode = 0o666
	}
	return os.Chmod(path, mode)
}

func peers(home string) map[uint32]bool {
	allowed := map[uint32]bool{0: true}
	if uid := os.Geteuid(); uid >= 0 {
		allowed[uint32(uid)] = true
	}
	if owner, ok := sysnet.Owner(home); ok {
		allowed[owner] = true
	}
	return allowed
}

// peerListener accepts only peers that run as one of the allowed users.
type peerListener struct {
	net.Listener
	allowed map[uint32]bool
}

// Accept implements net.Listener.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := sysnet.PeerUID(c.(*net.UnixConn))
		if errors.Is(err, errors.ErrUnsupported) || err == nil && l.allowed[uid] {
			return c, nil
		}
		_ = c.Close()
	}
}
