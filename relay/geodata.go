package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// geoKey is one set of geo data: a list of sites, a country or an autonomous system, of one kind of
// file.
type geoKey struct {
	kind geo.Kind
	name string
}

// geoData gives rules the sets of geo data they refer to. Sets come out of the files in the home
// directory; a file that is not there makes its sets empty, and is downloaded once a rule needs it.
type geoData struct {
	home  string
	log   *slog.Logger
	get   func(ctx context.Context, url string) ([]byte, error)
	inUse func() (map[geoKey]bool, config.Geo) // what rules refer to now, and the settings
	poke  chan struct{}                        // tells run that something may be due

	updating sync.Mutex // one update at a time

	mu    sync.Mutex
	sets  map[geoKey]*rule.Set // all that were ever referred to
	retry map[geo.Kind]retry
	said  map[geo.Kind]string // what kept it from being loaded
	// broken are the files that are there and of no use: others are downloaded in their place.
	broken map[geo.Kind]bool

	countries, systems atomic.Pointer[geo.DB] // that are in use; to show where addresses are
}

// retry is when a download that failed is tried again.
type retry struct {
	at   time.Time
	wait time.Duration
}

func newGeoData(home string, log *slog.Logger) *geoData {
	return &geoData{
		home: home, log: log, poke: make(chan struct{}, 1),
		sets: make(map[geoKey]*rule.Set), retry: make(map[geo.Kind]retry),
		said: make(map[geo.Kind]string), broken: make(map[geo.Kind]bool),
	}
}

// geoUse collects what the rules of one compilation refer to.
type geoUse struct {
	data *geoData
	mmdb bool // countries are in the .mmdb
	keys map[geoKey]bool
}

func (g *geoData) use(c *config.Config) *geoUse {
	return &geoUse{data: g, mmdb: !c.Geo.Mode, keys: make(map[geoKey]bool)}
}

func (u *geoUse) set(kind geo.Kind, name string) (*rule.Set, error) {
	key := geoKey{kind, name}
	u.keys[key] = true
	return u.data.set(key), nil
}

// env adds the geo sets to what rules may refer to.
func (u *geoUse) env(e *rule.Env) *rule.Env {
	e.GeoSite = func(list string) (*rule.Set, error) { return u.set(geo.GeoSiteDat, list) }
	e.GeoIP = func(code string) (*rule.Set, error) {
		if u.mmdb {
			return u.set(geo.CountryDB, code)
		}
		return u.set(geo.GeoIPDat, code)
	}
	e.ASN = func(n uint32) (*rule.Set, error) { return u.set(geo.ASNDB, strconv.FormatUint(uint64(n), 10)) }
	return e
}

func (g *geoData) set(key geoKey) *rule.Set {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sets[key]
	if s == nil {
		s = new(rule.Set)
		g.sets[key] = s
	}
	return s
}

// fill loads those of the sets that hold nothing yet.
func (g *geoData) fill(keys map[geoKey]bool) {
	byKind := make(map[geo.Kind][]string)
	for key := range keys {
		if g.set(key).Content() == nil {
			byKind[key.kind] = append(byKind[key.kind], key.name)
		}
	}
	for kind, names := range byKind {
		path := geo.Find(kind, g.home)
		if path == "" {
			g.warn(kind, fmt.Sprintf("%s is not there: the rules that need it do not match until it is", kind.File()))
			continue
		}
		data, err := readGeo(path)
		if err == nil {
			err = g.load(kind, names, data)
		}
		g.mu.Lock()
		g.broken[kind] = err != nil
		g.mu.Unlock()
		if err != nil {
			g.warn(kind, fmt.Sprintf("%s: the rules that need it do not match: %v", path, err))
		}
	}
}

// warn says what keeps a kind from being loaded, once.
func (g *geoData) warn(kind geo.Kind, text string) {
	g.mu.Lock()
	said := g.said[kind] == text
	g.said[kind] = text
	g.mu.Unlock()
	if !said {
		g.log.Warn(text)
	}
}

// maxGeoFile bounds a file of geo data, in bytes.
const maxGeoFile = 256 << 20

func readGeo(path string) ([]byte, error) {
	if err := config.Regular(path); err != nil {
		return nil, err
	}
	if st, err := os.Stat(path); err == nil && st.Size() > maxGeoFile {
		return nil, fmt.Errorf("larger than %d MiB", maxGeoFile>>20)
	}
	return os.ReadFile(path)
}

// load gives sets of a kind what data has for them. What it has nothing for becomes empty.
func (g *geoData) load(kind geo.Kind, names []string, data []byte) error {
	contents, err := g.readSets(kind, names, data)
	if err != nil {
		return err
	}
	for _, name := range names {
		c := contents[name]
		if c == nil {
			g.log.Warn(fmt.Sprintf("%s has nothing for %q: the rules that name it do not match", kind, name))
			c = new(rule.Content)
		}
		g.set(geoKey{kind, name}).Replace(c)
	}
	return nil
}

// names are the sets of each kind that rules refer to now.
func (g *geoData) names() (byKind map[geo.Kind][]string, c config.Geo) {
	used, c := g.inUse()
	byKind = make(map[geo.Kind][]string)
	for key := range used {
		byKind[key.kind] = append(byKind[key.kind], key.name)
	}
	return byKind, c
}

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
		for kind := range needed {
			only = append(only, kind)
		}
	}
	var errs []error
	for _, kind := range only {
		err := g.updateOne(ctx, kind, needed[kind], geoURL(&c, kind))
		g.settle(kind, err)
		if err != nil {
			g.log.Warn(err.Error())
			errs = append(errs, err)
			continue
		}
		g.log.Info(fmt.Sprintf("%s database file is updated", kind))
	}
	return errors.Join(errs...)
}

func (g *geoData) updateOne(ctx context.Context, kind geo.Kind, names []string, url string) error {
	data, err := g.get(ctx, url)
	if err != nil {
		return fmt.Errorf("can't download %s database file: %w", kind, err)
	}
	if err := geo.Check(kind, data); err != nil {
		return fmt.Errorf("invalid %s database file: %w", kind, err)
	}
	path := geo.Find(kind, g.home)
	if path == "" {
		path = g.home + string(os.PathSeparator) + kind.File()
	}
	if err := fetch.Replace(path, data); err != nil {
		return fmt.Errorf("can't save %s database file: %w", kind, err)
	}
	return g.load(kind, names, data)
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
		delete(g.broken, kind)
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

// run downloads what is missing and, where the configuration says so, what has become old, until ctx
// is done.
func (g *geoData) run(ctx context.Context) {
	for {
		due, next := g.due(time.Now())
		if len(due) > 0 {
			round, cancel := context.WithTimeout(ctx, geoTimeout)
			_ = g.update(round, due) // it has been logged, and is tried again
			cancel()
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-g.poke:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
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
	broken := g.broken[kind]
	g.mu.Unlock()
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
	return st.ModTime().Add(time.Duration(c.UpdateInterval) * time.Hour), false
}
