package relay

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/tests/port"
)

// TestPanicInABuildStep ends the change: what runs is as before, and the next change works.
func TestPanicInABuildStep(t *testing.T) {
	r := startRelay(t, "mode: rule\n")
	now, revision := r.current.Load(), r.revision(r.current.Load())
	mixed := port.Free(t)
	text := fmt.Sprintf("mixed-port: %d\ndns: {enable: true, nameserver: [127.0.0.1]}\n", mixed)
	service := r.dns
	r.dns = nil // which the resolvers ask for what they have in common
	err := r.applyText(text)
	r.dns = service
	fails(t, err, "build")
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", mixed)); err == nil {
		_ = c.Close()
		t.Error("the port is open")
	}
	if r.current.Load() != now || r.revision(now) != revision {
		t.Error("another configuration runs")
	}
	r.mustApply(t, text)
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", mixed)); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	if _, next := r.Revision(); next == revision {
		t.Error("the revision is that from before")
	}
}

func fails(t *testing.T, err error, step string) {
	t.Helper()
	if s, ok := errors.AsType[*StepError](err); !ok || s.Step != step || !strings.Contains(err.Error(), "panic") {
		t.Errorf("%v; want a panic in step %s", err, step)
	}
}

// commits is a change that counts how it ends.
type commits struct {
	committed, aborted int
	bug                bool
}

func (c *commits) Commit() {
	c.committed++
	if c.bug {
		panic("a bug")
	}
}

func (c *commits) Abort() {
	c.aborted++
	if c.bug {
		panic("a bug")
	}
}

// TestPanicsInTheEnd: what one part does when a change is made or given up is no matter of the others.
func TestPanicsInTheEnd(t *testing.T) {
	r := startRelay(t, "mode: rule\n")
	parts := []*commits{{}, {bug: true}, {}}
	refuses := false
	for _, p := range parts {
		r.Add(part{func() (config.Change, error) { return p, nil }})
	}
	r.Add(part{func() (config.Change, error) {
		if refuses {
			return nil, errors.New("no")
		}
		return &commits{}, nil
	}})
	fails(t, r.applyText("mode: global\n"), "commit")
	if c := r.Config(); c.Mode != config.ModeGlobal { // it is late for anything else
		t.Error(c.Mode)
	}
	refuses = true
	if err := r.applyText("mode: direct\n"); err == nil || err.Error() != "part: no" {
		t.Error(err)
	}
	if c := r.Config(); c.Mode != config.ModeGlobal {
		t.Error(c.Mode)
	}
	for i, p := range parts {
		if p.committed != 1 || p.aborted != 1 {
			t.Errorf("part %d: %+v", i, p)
		}
	}
}

// TestStaleChanges are those for a configuration that runs no more.
func TestStaleChanges(t *testing.T) {
	r := startRelay(t, "mode: rule\n")
	_, first := r.Revision()
	is := func(want string) func(string) bool { return func(revision string) bool { return revision == want } }
	change := func(c *config.Config) error {
		c.Mode = config.ModeDirect
		return nil
	}
	if err := r.Patch(is("x"), change); !errors.Is(err, config.ErrStale) {
		t.Error(err)
	}
	if err := r.Load("", "mode: global", false, is("x")); !errors.Is(err, config.ErrStale) {
		t.Error(err)
	}
	if err := r.SwitchRules(map[int]bool{}); err != nil {
		t.Error(err)
	}
	if c, now := r.Revision(); now != first || c.Mode != config.ModeRule {
		t.Errorf("%s, %s after %s", c.Mode, now, first)
	}
	if err := r.Patch(is(first), change); err != nil {
		t.Error(err)
	}
	if c, now := r.Revision(); now == first || c.Mode != config.ModeDirect {
		t.Errorf("%s, %s after %s", c.Mode, now, first)
	}
}
