package rule

import (
	"fmt"
	"testing"
	"time"
)

func TestCounters(t *testing.T) {
	at := func(sec int64) time.Time { return time.Unix(sec, 0) }
	f := func(what string, c *Counters, want string) {
		t.Helper()
		got := ""
		for _, s := range c.All() {
			got += fmt.Sprintf("%d/%d@%d,%d ", s.Hits, s.Misses, seconds(s.HitAt), seconds(s.MissAt))
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	c := NewCounters(3)
	f("nothing yet", c, "0/0@0,0 0/0@0,0 0/0@0,0 ")
	c.Tick(at(10))
	c.Hit(1)
	f("one that ended at 1", c, "0/1@0,10 1/0@10,0 0/0@0,0 ")
	c.Tick(at(20))
	c.Hit(None)
	f("one that no rule held for", c, "0/2@0,20 1/1@10,20 0/1@0,20 ")
	c.Tick(at(30))
	c.Hit(0) // holds, and hands on
	c.GoesOn(0)
	c.Hit(2)
	f("one that went on behind 0", c, "1/2@30,30 1/2@10,30 1/1@30,20 ")
	c.Switch(1, true)
	c.Tick(at(40))
	c.Hit(2)
	f("1 is off", c, "1/3@30,40 1/2@10,40 2/1@40,20 ")
	c.Switch(1, true) // already
	c.Switch(1, false)
	c.Hit(2)
	f("and on again", c, "1/4@30,40 1/3@10,40 3/1@40,20 ")
	c.Switch(1, true)
	c.Hit(None)
	c.Switch(1, false)
	f("and off and on", c, "1/5@30,40 1/3@10,40 3/2@40,40 ")
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
