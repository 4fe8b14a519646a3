package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/provider"
)

// wake looks again at what is due: the configuration or a set has changed.
func (g *geoData) wake() {
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

// forgive lets downloads that failed be tried again at once.
func (g *geoData) forgive() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.retry)
}

// errBusy is what a second update at one time gets.
var errBusy = errors.New("an update of the geo data is running already: skip")

// update downloads the files that rules need, checks them, and puts them in place of the old ones:
// of all kinds where only is nil.
func (g *geoData) update(ctx context.Context, only []geo.Kind) error {
	if !g.updating.TryLock() {
		return errBusy
	}
	defer g.updating.Unlock()
	needed, c := g.names()
	if only == nil {
		only = slices.Sorted(maps.Keys(needed))
	}
	var wait sync.WaitGroup
	errs := make([]error, len(only))
	for i, kind := range only { // one that is slow holds up no other
		wait.Go(func() {
			err := g.updateOne(ctx, kind, geoURL(&c, kind))
			g.settle(kind, err)
			if errs[i] = err; err != nil {
				g.log.Warn(err.Error())
				return
			}
			g.log.Info(fmt.Sprintf("%s database file is updated", kind))
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (g *geoData) updateOne(ctx context.Context, kind geo.Kind, url string) error {
	data, err := g.get(ctx, url)
	if err != nil {
		return fmt.Errorf("can't download %s database file: %w", kind, err)
	}
	if err := geo.Check(kind, data); err != nil {
		return fmt.Errorf("invalid %s database file: %w", kind, err)
	}
	g.loading.Lock()
	defer g.loading.Unlock()
	needed, _ := g.names() // rules may have come while it was downloaded
	known := g.known(kind)
	contents, err := readSets(kind, known, data)
	switch {
	case err != nil:
		return fmt.Errorf("invalid %s database file: %w", kind, err)
	case !contents.any(needed[kind]) && g.have(kind, needed[kind]):
		return fmt.Errorf("invalid %s database file: it has nothing of what rules need", kind)
	}
	path := geo.Find(kind, g.home)
	if path == "" {
		path = filepath.Join(g.home, kind.File())
	}
	if err := fetch.Replace(path, data); err != nil {
		return fmt.Errorf("can't save %s database file: %w", kind, err)
	}
	g.give(kind, known, contents)
	g.seen[kind], g.broken[kind] = provider.LookAt(path), false
	return nil
}

const (
	firstRetry = 5 * time.Second
	lastRetry  = 10 * time.Minute
)

// settle notes when a kind is tried again.
func (g *geoData) settle(kind geo.Kind, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		delete(g.retry, kind)
		return
	}
	wait := min(max(2*g.retry[kind].wait, firstRetry), lastRetry)
	g.retry[kind] = retry{time.Now().Add(wait), wait}
}

func geoURL(c *config.Geo, kind geo.Kind) string {
	switch kind {
	case geo.GeoIPDat:
		return c.URLs.GeoIP
	case geo.CountryDB:
		return c.URLs.MMDB
	case geo.ASNDB:
		return c.URLs.ASN
	}
	return c.URLs.GeoSite
}

// geoTimeout bounds one round of downloads.
const geoTimeout = 10 * time.Minute

const (
	betweenRounds = time.Second // at least, whatever is due
	betweenLooks  = time.Minute // at files that somebody may have put there
)

// run downloads what is missing and, where the configuration says so, what has become old, and looks
// for files that have changed, until ctx is done.
func (g *geoData) run(ctx context.Context) {
	var round chan struct{} // closed when the downloads that are under way have ended
	var rest time.Time      // until then no others begin
	for {
		g.catchUp()
		now := time.Now()
		due, next := g.due(now)
		switch {
		case len(due) == 0:
		case round != nil:
			next = betweenLooks
		case now.Before(rest):
			next = rest.Sub(now)
		default:
			round, rest, next = g.begin(ctx, due), now.Add(betweenRounds), betweenLooks
		}
		timer := time.NewTimer(min(next, betweenLooks))
		select {
		case <-round:
			round = nil
		case <-g.poke:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if round != nil {
				<-round
			}
			return
		}
		timer.Stop()
	}
}

// begin begins to download what is due, and returns what is closed at the end.
func (g *geoData) begin(ctx context.Context, due []geo.Kind) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(ctx, geoTimeout)
		defer cancel()
		_ = g.update(ctx, due) // it has been logged, and is tried again
	}()
	return done
}

// due are the kinds to download now, and how long there is nothing to do after that.
func (g *geoData) due(now time.Time) (kinds []geo.Kind, next time.Duration) {
	needed, c := g.names()
	next = 24 * time.Hour
	for kind := range needed {
		at, never := g.dueAt(kind, &c)
		switch {
		case never:
		case !at.After(now):
			kinds = append(kinds, kind)
		default:
			next = min(next, at.Sub(now))
		}
	}
	return kinds, next
}

func (g *geoData) dueAt(kind geo.Kind, c *config.Geo) (at time.Time, never bool) {
	g.mu.Lock()
	retry, waits := g.retry[kind]
	g.mu.Unlock()
	g.loading.Lock()
	broken := g.broken[kind]
	g.loading.Unlock()
	path := geo.Find(kind, g.home)
	st, err := os.Stat(path)
	if broken {
		path = ""
	}
	switch {
	case path != "" && err == nil && (!c.AutoUpdate || c.UpdateInterval <= 0):
		return time.Time{}, true
	case waits:
		return retry.at, false
	case path == "" || err != nil:
		return time.Time{}, false
	}
	written := st.ModTime()
	if now := time.Now(); written.After(now) {
		written = now // under a clock that was wrong
	}
	return written.Add(time.Duration(c.UpdateInterval) * time.Hour), false
}
