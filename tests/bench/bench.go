//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// bench runs rows through peers and keeps the samples.
type bench struct {
	dir     string
	origin  addrs
	plan    plan
	rows    []row
	peers   []peer
	samples []sample
}

// sample is one measurement.
type sample struct {
	Row   string        `json:"row"`
	Peer  string        `json:"peer"`
	Door  kind          `json:"door"`
	Round int           `json:"round"`
	CPU   time.Duration `json:"cpu_ns"`    // of the proxy while the load worked
	RSS   int64         `json:"rss_bytes"` // how much it grew
	// Of the API rows: what it has in all, and what it has done meanwhile.
	Resident int64  `json:"resident_bytes,omitempty"`
	Allocs   int64  `json:"allocations,omitempty"`
	Encodes  int64  `json:"encodings,omitempty"`
	FDs      int    `json:"descriptors"`     // how many more it had
	Fail     string `json:"error,omitempty"` // why there is nothing else
	result
}

// measureAll takes all samples, round by round, row by row, and in each row peer by peer; who is
// first changes with the round. It returns an error when it was cut short.
func (b *bench) measureAll(ctx context.Context) error {
	for round := range b.plan.Rounds {
		for _, r := range b.rows {
			if r.Once && round > 0 {
				continue
			}
			for i := range b.peers {
				p := b.peers[(i+round)%len(b.peers)]
				s, ok := b.measure(ctx, p, r)
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("cut short in round %d: %w", round+1, err)
				}
				if !ok {
					continue
				}
				s.Round = round
				b.samples = append(b.samples, s)
				note := ""
				if s.Fail != "" {
					note = ": " + s.Fail
				} else if s.Errors > 0 {
					note = fmt.Sprintf(": %d errors, the first: %s", s.Errors, s.First)
				}
				fmt.Fprintf(os.Stderr, "round %d  %s, %s%s\n", round+1, r.Title, p.Name, note)
			}
		}
	}
	return nil
}

// measure takes one sample with a fresh proxy; ok is false when the peer has no door for r.
func (b *bench) measure(ctx context.Context, p peer, r row) (s sample, ok bool) {
	s = sample{Row: r.Title, Peer: p.Name}
	x, err := p.start(ctx, b.dir, setting{origin: b.origin, dns: r.DNS, api: r.API})
	if err != nil {
		s.Fail = err.Error()
		return s, true
	}
	defer x.stop()
	for _, k := range r.Doors {
		addr, found := x.doors[k]
		if !found {
			continue
		}
		s.Door = k
		r.Job.Door = door{Kind: k, Addr: addr, Proxy: x.doors[viaSOCKS5], Origin: b.origin}
		if err := s.take(ctx, x, r.Job); err != nil {
			s.Fail = err.Error() + x.tail()
		}
		return s, true
	}
	return s, false
}

// quiet is how long a proxy may tidy up after the work; that is part of the work.
const quiet = 50 * time.Millisecond

// take runs the load process for j and looks at x around the work.
func (s *sample) take(ctx context.Context, x *proxy, j job) error {
	// Preparing and finishing have time of their own, but not for ever.
	ctx, cancel := context.WithTimeout(ctx, j.Window+2*unitLimit)
	defer cancel()
	l, err := startLoad(ctx, j)
	if err != nil {
		return err
	}
	defer l.stop()

	var ready string
	if err := l.read(&ready); err != nil {
		return err
	}
	counted, err := x.counts(j.Door)
	if err != nil {
		return err
	}
	before, err := usageOf(x.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := l.resume(); err != nil {
		return err
	}
	if err := l.read(&s.result); err != nil {
		return err
	}
	time.Sleep(quiet)
	after, err := usageOf(x.cmd.Process.Pid)
	if err != nil {
		return err
	}
	s.CPU = after.cpu - before.cpu
	s.RSS = after.rss - before.rss
	s.FDs = after.fds - before.fds
	n, err := x.counts(j.Door)
	if err != nil {
		return err
	}
	s.Allocs, s.Encodes, s.Resident = n.allocs-counted.allocs, n.encodes-counted.encodes, after.rss
	if s.Errors > 0 {
		s.First += x.tail()
	}
	return nil
}

// counts asks a controller what it has counted; elsewhere there is nothing to ask.
func (x *proxy) counts(d door) (counts, error) {
	if d.Kind != viaAPI {
		return counts{}, nil
	}
	c, err := dialAPI(d.Addr.String())
	if err != nil {
		return counts{}, err
	}
	defer c.c.Close()
	return c.counts()
}

// loadProcess is the bench's end of a load process.
type loadProcess struct {
	in     io.WriteCloser
	out    *bufio.Reader
	errOut bytes.Buffer
	kill   func()
}

func startLoad(ctx context.Context, j job) (*loadProcess, error) {
	cmd, err := self(ctx, "load")
	if err != nil {
		return nil, err
	}
	l := new(loadProcess)
	cmd.Stderr = &l.errOut
	if l.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start load: %w", err)
	}
	l.kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed: there is nothing to learn
	}
	if err := json.NewEncoder(l.in).Encode(j); err != nil {
		l.stop()
		return nil, fmt.Errorf("start load: %w", err)
	}
	return l, nil
}

// read reads what the load process says next.
func (l *loadProcess) read(v any) error {
	line, err := l.out.ReadBytes('\n')
	if err != nil {
		l.stop() // it has ended: now all that it said of the reason is here
		if said := bytes.TrimSpace(l.errOut.Bytes()); len(said) > 0 {
			return fmt.Errorf("load: %s", said)
		}
		return fmt.Errorf("load: %w", err)
	}
	return json.Unmarshal(line, v)
}

// resume lets it go on.
func (l *loadProcess) resume() error {
	_, err := io.WriteString(l.in, "go\n")
	return err
}

// stop ends it. It may be called twice.
func (l *loadProcess) stop() {
	l.in.Close()
	l.kill()
}
