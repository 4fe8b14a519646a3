// Package handover leaves what a daemon holds to the process that comes after it: its listening sockets, and a
// configuration that no file has. The next process is the same one with another program in it, or a child that
// says when it serves.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
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
	Ready   int             `json:"ready"` // is told how the start went
}

// Received is what was left to this process.
type Received struct {
	Sockets []sysnet.Socket
	Text    *os.File // the configuration, where it came from standard input; nil: it did not
	ready   *os.File
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
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	if n.From != os.Getpid() && n.From != os.Getppid() {
		return nil, fmt.Errorf("%s: it was written by process %d, which is neither this one nor its parent", Variable, n.From)
	}
	r := &Received{Sockets: n.Sockets}
	if n.Text != 0 {
		r.Text = receiveFile(n.Text, "configuration")
	}
	if n.Ready != 0 {
		r.ready = receiveFile(n.Ready, "ready")
	}
	return r, nil
}

// parse reads the value of Variable.
func parse(text string) (*note, error) {
	if len(text) > maxNote {
		return nil, fmt.Errorf("larger than %d bytes", maxNote)
	}
	n := new(note)
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(n); err != nil || d.More() {
		return nil, errors.New("not what this program writes")
	}
	if len(n.Sockets) > maxSockets {
		return nil, fmt.Errorf("more than %d sockets", maxSockets)
	}
	used := make(map[int]bool)
	good := func(fd int) bool {
		ok := fd > 2 && fd < maxFD && !used[fd]
		used[fd] = true
		return ok
	}
	for _, s := range n.Sockets {
		if !good(s.FD) {
			return nil, fmt.Errorf("descriptor %d", s.FD)
		}
	}
	if n.Text != 0 && !good(n.Text) || n.Ready != 0 && !good(n.Ready) {
		return nil, fmt.Errorf("descriptor %d or %d", n.Text, n.Ready)
	}
	return n, nil
}

const readyWord = "ready"

// Child says whether somebody waits for this process to serve.
func (r *Received) Child() bool { return r != nil && r.ready != nil }

// Ready tells the process before this one that it is not needed any more. It does so once.
func (r *Received) Ready() { r.say(readyWord) }

// Failed tells the process before this one why this one ends. After Ready it does nothing.
func (r *Received) Failed(err error) {
	if !r.Child() {
		return
	}
	text := err.Error()
	r.say(text[:min(len(text), maxWord-1)])
}

func (r *Received) say(word string) {
	if !r.Child() {
		return
	}
	_ = r.ready.SetWriteDeadline(time.Now().Add(time.Second)) // where it has one
	_, _ = r.ready.WriteString(word)                          // one who is gone does not matter
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
