package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	loading  sync.Mutex // one reading of files at a time; it guards the next three

	seen   map[geo.Kind]look   // of the files that were read last
	broken map[geo.Kind]bool   // files that are there and of no use: others are downloaded in their place
	said   map[geo.Kind]string // what kept a file from being read

	mu    sync.Mutex
	sets  map[geoKey]*geoSet
	retry map[geo.Kind]retry

	countries, systems atomic.Pointer[geo.DB] // that are in use; to show where addresses are
}

// geoSet is a set that rules refer to, or did.
type geoSet struct {
	rule.Set
	born time.Time
}

// look is what tells, without reading it, that a file is another.
type look struct {
	path    string
	written time.Time
	size    int64
}

func lookAt(path string) (l look) {
	if st, err := os.Stat(path); err == nil {
		l = look{path, st.ModTime(), st.Size()}
	}
	return l
}

// retry is when a download that failed is tried again.
type retry struct {
	at   time.Time
	wait time.Duration
}

func newGeoData(home string, log *slog.Logger) *geoData {
	return &geoData{
		home: home, log: log, poke: make(chan struct{}, 1),
		sets: make(map[geoKey]*geoSet), retry: make(map[geo.Kind]retry),
		seen: make(map[geo.Kind]look), broken: make(map[geo.Kind]bool), said: make(map[geo.Kind]string),
	}
}

// geoUse collects what the rules of one compilation refer to.
type geoUse struct {
	data *geoData
	mmdb bool // countries are in the .mmdb
	keys map[geoKey]bool
	most int // keys; 0 for no bound
}

var errManyGeoNames = errors.New("one rule set names too many lists and countries")

func (g *geoData) use(c *config.Config) *geoUse {
	return &geoUse{data: g, mmdb: !c.Geo.Mode, keys: make(map[geoKey]bool)}
}

func (u *geoUse) set(kind geo.Kind, name string) (*rule.Set, error) {
	key := geoKey{kind, name}
	if u.most > 0 && len(u.keys) >= u.most && !u.keys[key] {
		return nil, errManyGeoNames
	}
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
		s = &geoSet{born: time.Now()}
		g.sets[key] = s
	}
	return &s.Set
}

// keepUnused is how long a set is kept that no rule refers to: a rule set that is being read may.
const keepUnused = 10 * time.Minute

// forget drops sets that no rule refers to.
func (g *geoData) forget(used map[geoKey]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, s := range g.sets {
		if !used[key] && time.Since(s.born) > keepUnused {
			delete(g.sets, key)
		}
	}
}

// fill loads those of the sets that hold nothing yet.
func (g *geoData) fill(keys map[geoKey]bool) {
	g.loading.Lock()
	defer g.loading.Unlock()
	for kind, names := range g.byKind(keys, true) {
		g.read(kind, names, false)
	}
}

// catchUp loads what rules refer to out of files that are new or have changed, and what an earlier
// reading was too early for.
func (g *geoData) catchUp() {
	used, _ := g.inUse()
	g.forget(used)
	g.loading.Lock()
	defer g.loading.Unlock()
	all, empty := g.byKind(used, false), g.byKind(used, true)
	for kind, names := range all {
		path := geo.Find(kind, g.home)
		if path == "" {
			continue // run downloads it
		}
		same := g.seen[kind] == lookAt(path)
		if same {
			names = empty[kind]
		}
		if len(names) > 0 {
			g.read(kind, names, !same)
		}
	}
}

// byKind are the names of sets of each kind: of all, or of those that hold nothing yet.
func (g *geoData) byKind(keys map[geoKey]bool, empty bool) map[geo.Kind][]string {
	names := make(map[geo.Kind][]string)
	for key := range keys {
		if !empty || g.set(key).Content() == nil {
			names[key.kind] = append(names[key.kind], key.name)
		}
	}
	return names
}

// read loads sets of a kind out of the file in the home directory: all that rules refer to, or some of
// them. g.loading is held.
func (g *geoData) read(kind geo.Kind, names []string, all bool) {
	path := geo.Find(kind, g.home)
	if path == "" {
		g.warn(kind, fmt.Sprintf("%s is not there: the rules that need it do not match until it is", kind.File()))
		return
	}
	seen := lookAt(path)
	if g.broken[kind] && g.seen[kind] == seen {
		return // it has been said
	}
	data, err := readGeo(path)
	if err == nil {
		err = g.load(kind, names, data)
	}
	if g.broken[kind] = err != nil; err != nil || all || g.seen[kind] == (look{}) {
		g.seen[kind] = seen // else catchUp is to see that the file is another for the others, too
	}
	if err != nil {
		g.warn(kind, fmt.Sprintf("%s: the rules that need it do not match: %v", path, err))
	}
}

// warn says what keeps a kind from being loaded, once.
func (g *geoData) warn(kind geo.Kind, text string) {
	if g.said[kind] != text {
		g.said[kind] = text
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

// have says whether any of sets has something now.
func (g *geoData) have(kind geo.Kind, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return g.set(geoKey{kind, name}).Len() > 0 })
}

// load gives sets of a kind what data has for them. g.loading is held.
func (g *geoData) load(kind geo.Kind, names []string, data []byte) error {
	contents, err := readSets(kind, names, data)
	if err == nil {
		g.give(kind, names, contents)
	}
	return err
}

// give gives sets of a kind their contents. One that there is nothing for becomes empty. g.loading is held.
func (g *geoData) give(kind geo.Kind, names []string, contents *geoContents) {
	delete(g.said, kind)
	switch kind {
	case geo.CountryDB:
		g.countries.Store(contents.db)
	case geo.ASNDB:
		g.systems.Store(contents.db)
	}
	var missing []string
	for _, name := range names {
		c := contents.sets[name]
		if c == nil {
			missing = append(missing, name)
			c = new(rule.Content)
		}
		g.set(geoKey{kind, name}).Replace(c)
	}
	if missing != nil {
		g.log.Warn(fmt.Sprintf("%s has nothing for %s: the rules that name it do not match", kind, some(missing)))
	}
}

// some are the first of names, and how many more there are.
func some(names []string) string {
	const most = 5
	slices.Sort(names)
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// names are the sets of each kind that rules refer to now.
func (g *geoData) names() (byKind map[geo.Kind][]string, c config.Geo) {
	used, c := g.inUse()
	return g.byKind(used, false), c
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
	contents, err := readSets(kind, needed[kind], data)
	switch {
	case err != nil:
		return fmt.Errorf("invalid %s database file: %w", kind, err)
	case len(contents.sets) == 0 && g.have(kind, needed[kind]):
		return fmt.Errorf("invalid %s database file: it has nothing of what rules need", kind)
	}
	path := geo.Find(kind, g.home)
	if path == "" {
		path = filepath.Join(g.home, kind.File())
	}
	if err := fetch.Replace(path, data); err != nil {
		return fmt.Errorf("can't save %s database file: %w", kind, err)
	}
	g.give(kind, needed[kind], contents)
	g.seen[kind], g.broken[kind] = lookAt(path), false
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
	for {
		g.catchUp()
		due, next := g.due(time.Now())
		poke := g.poke
		if len(due) > 0 {
			round, cancel := context.WithTimeout(ctx, geoTimeout)
			_ = g.update(round, due) // it has been logged, and is tried again
			cancel()
			next, poke = betweenRounds, nil
		}
		timer := time.NewTimer(min(max(next, betweenRounds), betweenLooks))
		select {
		case <-poke:
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
