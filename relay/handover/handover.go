// Package handover leaves what a daemon holds to the process that comes after it: its listening sockets, and a
// configuration that no file has. The next process is the same one with another program in it, or a child that
// says when it serves.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// Variable is the name of the environment variable that describes what was left. Receive clears it.
const Variable = "SWITCHYARD_HANDOVER"

// Bounds of what Receive takes.
const (
	maxNote    = 64 << 10 // bytes
	maxSockets = 256
	maxFD      = 1 << 20
	maxWord    = 4 << 10 // bytes of what a child says
)

// note is the value of Variable, in JSON. A descriptor that is 0 is none.
type note struct {
	From    int             `json:"from"` // the process that wrote it
	Sockets []sysnet.Socket `json:"sockets"`
	Text    int             `json:"text"`  // reads the configuration
	Ready   int             `json:"ready"` // a socket that is told how the start went, and answers
}

// Received is what was left to this process.
type Received struct {
	Sockets []sysnet.Socket
	Text    *os.File // the configuration, where it came from standard input; nil: it did not
	ready   *net.UnixConn
}

// Receive takes what another process of ours has left to this one. It is called once, before programs are started.
// An error is that what the environment says makes no sense; nothing is received then. A nil Received is that
// nothing was left.
func Receive() (*Received, error) {
	text, there := os.LookupEnv(Variable)
	if !there {
		return nil, nil
	}
	_ = os.Unsetenv(Variable)
	n, err := parse(text)
	if err == nil && n.From != os.Getpid() && n.From != os.Getppid() {
		err = fmt.Errorf("it was written by process %d, which is neither this one nor its parent", n.From)
	}
	if err != nil {
		sysnet.CloseListed(n.Sockets) // else their ports would be in use
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	r := &Received{Sockets: n.Sockets}
	if n.Text != 0 {
		r.Text = receiveFile(n.Text, "configuration")
	}
	if n.Ready != 0 {
		if r.ready, err = receiveConn(n.Ready); err != nil {
			sysnet.CloseListed(n.Sockets)
			return nil, fmt.Errorf("%s: %w", Variable, err)
		}
	}
	return r, nil
}

// parse reads the value of Variable. What it knows nothing of, another version may: it is left out. With an error the
// note holds what could be read.
func parse(text string) (*note, error) {
	n := new(note)
	if len(text) > maxNote {
		return n, fmt.Errorf("larger than %d bytes", maxNote)
	}
	if err := json.Unmarshal([]byte(text), n); err != nil {
		return n, errors.New("not what this program writes")
	}
	if len(n.Sockets) > maxSockets {
		return n, fmt.Errorf("more than %d sockets", maxSockets)
	}
	used := make(map[int]bool)
	good := func(fd int) bool {
		ok := fd > 2 && fd < maxFD && !used[fd]
		used[fd] = true
		return ok
	}
	for _, s := range n.Sockets {
		if !good(s.FD) {
			return n, fmt.Errorf("descriptor %d", s.FD)
		}
	}
	if n.Text != 0 && !good(n.Text) || n.Ready != 0 && !good(n.Ready) {
		return n, fmt.Errorf("descriptor %d or %d", n.Text, n.Ready)
	}
	return n, nil
}

// What the two processes say to each other.
const (
	readyWord = "ready"
	goWord    = "go"
)

// goTime is how long a child waits for its answer.
const goTime = 10 * time.Second

// ErrNotNeeded means that the process before this one goes on, and that this one is to end.
var ErrNotNeeded = errors.New("the process before this one goes on")

// Child says whether somebody waits for this process to serve.
func (r *Received) Child() bool { return r != nil && r.ready != nil }

// Ready tells the process before this one that it is not needed any more, and waits until it has let go. It does so
// once. An error, which is ErrNotNeeded, is that nothing of what was left is this process's.
func (r *Received) Ready() error {
	if !r.Child() {
		return nil
	}
	c := r.ready
	r.ready = nil
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(goTime))
	_, err := io.WriteString(c, readyWord)
	if err == nil {
		err = c.CloseWrite()
	}
	if err == nil {
		answer, _ := io.ReadAll(io.LimitReader(c, maxWord))
		if string(answer) == goWord {
			return nil
		}
	}
	return ErrNotNeeded
}

// Failed tells the process before this one why this one ends. After Ready it does nothing.
func (r *Received) Failed(err error) {
	if !r.Child() {
		return
	}
	text := err.Error()
	_ = r.ready.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(r.ready, text[:min(len(text), maxWord-1)]) // one who is gone does not matter
	_ = r.ready.Close()
	r.ready = nil
}

// Parcel is what is left to the next process.
type Parcel struct {
	Sockets []sysnet.Socket // their descriptors belong to the parcel
	Text    []byte          // the configuration, where it came from standard input; nil: it did not
}

// Close frees the parcel's descriptors.
func (p *Parcel) Close() { sysnet.CloseAll(p.Sockets) }

// environment is env with the note n, and without what names another.
func environment(env []string, n *note) ([]string, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	if len(b) > maxNote {
		return nil, errors.New("too many sockets to hand over")
	}
	return append(Clean(env), Variable+"="+string(b)), nil
}

// Clean is env without the variables called names, and without Variable.
func Clean(env []string, names ...string) []string {
	var out []string
next:
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		for _, n := range append(names, Variable) {
			if n == name {
				continue next
			}
		}
		out = append(out, e)
	}
	return out
}
