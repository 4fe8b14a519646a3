package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/provider"
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
	home    string
	log     *slog.Logger
	get     func(ctx context.Context, url string) ([]byte, error)
	inUse   func() (map[geoKey]bool, config.Geo) // what rules refer to now, and the settings
	held    func() map[geoKey]bool               // that, and what rule sets refer to that no rule names
	changed func(kind geo.Kind, names []string)  // is told of sets that hold something else now; nil: nobody
	poke    chan struct{}                        // tells run that something may be due

	updating sync.Mutex // one update at a time
	loading  sync.Mutex // one reading of files at a time; it guards the next three

	seen   map[geo.Kind]provider.Look // of the files that were read last
	broken map[geo.Kind]bool          // files that are there and of no use: others are downloaded in their place
	said   map[geo.Kind]string        // what kept a file from being read

	mu    sync.Mutex
	sets  map[geoKey]*geoSet
	retry map[geo.Kind]retry

	countries, systems atomic.Pointer[geo.DB] // that are in use; to show where addresses are
}

// geoSet is a set that rules refer to, or did.
type geoSet struct {
	rule.Set
	asked time.Time // when somebody last asked for it
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
		seen: make(map[geo.Kind]provider.Look), broken: make(map[geo.Kind]bool), said: make(map[geo.Kind]string),
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
		s = new(geoSet)
		g.sets[key] = s
	}
	s.asked = time.Now()
	return &s.Set
}

// keepUnused is how long a set is kept that nothing refers to: a rule set that is being read may.
const keepUnused = 10 * time.Minute

// forget drops sets that nothing refers to.
func (g *geoData) forget() {
	held := g.held()
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, s := range g.sets {
		if !held[key] && time.Since(s.asked) > keepUnused {
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
	g.forget()
	used, _ := g.inUse()
	g.loading.Lock()
	defer g.loading.Unlock()
	empty := g.byKind(used, true)
	for kind := range g.byKind(used, false) {
		path := geo.Find(kind, g.home)
		if path == "" {
			continue // run downloads it
		}
		same := g.seen[kind] == provider.LookAt(path)
		names := empty[kind]
		if !same {
			names = g.known(kind)
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

// known are all sets of a kind: also those that no rule refers to now may be referred to again.
func (g *geoData) known(kind geo.Kind) (names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.sets {
		if key.kind == kind {
			names = append(names, key.name)
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
	seen := provider.LookAt(path)
	if g.broken[kind] && g.seen[kind] == seen {
		return // it has been said
	}
	data, err := readGeo(path)
	if err == nil {
		err = g.load(kind, names, data)
	}
	if g.broken[kind] = err != nil; err != nil || all || g.seen[kind] == (provider.Look{}) {
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
	if g.changed != nil {
		g.changed(kind, names)
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
