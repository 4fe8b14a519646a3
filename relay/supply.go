package relay

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/provider"
	"github.com/switchyard-proxy/switchyard/relay/state"
)

// supply is what rule providers and proxy providers have in common: a file, and a life that begins with the
// first configuration that has them and ends with the last.
type supply struct {
	path  string
	life  context.Context // ends when a configuration comes that has it no more
	end   context.CancelFunc
	leave func() bool                                                // nil while nothing keeps it up to date
	run   func(ctx context.Context, watcher *provider.Watcher) error // keeps it up to date
}

func newSupply(path string) supply {
	s := supply{path: path}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

var errProviderGone = errors.New("a change of the configuration has taken the provider away")

// while updates a provider as long as there is one.
func (s *supply) while(ctx context.Context, update func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	err := update(ctx)
	if err != nil && s.life.Err() != nil {
		err = errProviderGone
	}
	return err
}

// place is what decides where a provider's body is.
type place struct {
	kind      string // "rule" or "proxy"
	name      string
	how       string // "http", "file" or "inline"
	url, path string
	pos       config.Pos
	second    bool // one before it has the same URL, and names no file either
}

// key is the section of the configuration.
func (p *place) key() string { return p.kind + "-providers." + p.name }

// directories are where bodies are kept that have no path of their own, as in the family.
var directories = map[string]string{"rule": "rules", "proxy": "proxies"}

// file is where a provider's body is, inside the fence; "" for one that has none.
func (b *builder) file(p *place) (string, error) {
	paths := b.Config.Paths
	switch {
	case p.how == "inline":
		return "", nil
	case p.path != "":
		return paths.Resolve(p.path)
	}
	text := p.url // the family's name for it: a home directory taken over keeps its files
	if p.second {
		text += "\x00" + p.name // the first of them has the file
	}
	sum := md5.Sum([]byte(text))
	return paths.Resolve(filepath.Join(directories[p.kind], hex.EncodeToString(sum[:])))
}

// claim is file, for one who is going to use it; it reports a file that cannot be theirs.
func (b *builder) claim(p *place) (path string, ok bool) {
	path, err := b.file(p)
	if err == nil && path != "" {
		err = b.free(path)
	}
	if err != nil {
		b.report(p.pos, p.key()+".path", err.Error())
		return "", false
	}
	return path, true
}

// alone reports a file that two providers have, of which one at least would write it.
func (b *builder) alone(p *place, path string) bool {
	if path == "" {
		return true
	}
	if other := b.files[path]; other != nil && (p.how == "http" || other.how == "http") {
		b.report(p.pos, p.key()+".path", fmt.Sprintf("is the file of the %s provider %q already", other.kind, other.name))
		return false
	}
	b.files[path] = p
	return true
}

// replaceIn writes files where paths allows, and nowhere else whatever links come in the way.
func replaceIn(paths config.Paths) func(path string, data []byte) error {
	return func(path string, data []byte) error {
		root, name, err := paths.Root(path)
		switch {
		case err != nil:
			return err
		case root == nil:
			return fetch.Replace(path, data)
		}
		defer root.Close()
		if err := fetch.ReplaceIn(root, name, data); err != nil {
			return fmt.Errorf("write %s: %w", path, errors.Unwrap(err))
		}
		return nil
	}
}

// free says why a file cannot be a provider's: it is one of the daemon's own, which a list must not overwrite
// and whose lines must not be shown as what is wrong with it.
func (b *builder) free(path string) error {
	own := []string{state.FileName, state.FileName + ".bad", "controller.secret"}
	for _, kind := range []geo.Kind{geo.GeoIPDat, geo.CountryDB, geo.ASNDB, geo.GeoSiteDat} {
		own = append(own, kind.Files()...)
	}
	for i, name := range own {
		own[i] = filepath.Join(b.Config.Paths.Home, name)
	}
	own = append(own, b.relay.source.File, b.Config.Controller.Unix)
	if filepath.IsAbs(b.Config.File) { // else it is a name for messages
		own = append(own, b.Config.File)
	}
	for _, text := range []string{b.Config.TLS.Certificate, b.Config.TLS.PrivateKey, b.Config.TLS.ClientAuthCert} {
		if text != "" && !strings.Contains(text, "\n") { // else it is PEM itself
			own = append(own, text)
		}
	}
	for _, name := range own {
		if name == "" {
			continue
		}
		if resolved, err := b.Config.Paths.Resolve(name); err == nil {
			name = resolved
		}
		if strings.EqualFold(name, path) {
			return fmt.Errorf("%s is a file of the daemon's own", path)
		}
	}
	if panel, err := b.Config.Panel(); err == nil && panel.Holds(path) {
		return fmt.Errorf("%s is in the directory of the web panel, where everybody can read it", path)
	}
	if strings.HasSuffix(path, compiled) {
		return fmt.Errorf("a name that ends in %s is that of a compiled set", compiled)
	}
	return config.Regular(path)
}

// sources keeps the providers of what runs up to date.
type sources struct {
	ctx     context.Context
	end     context.CancelFunc
	watcher *provider.Watcher // nil where files cannot be watched
	running sync.WaitGroup
}

func newSources(log *slog.Logger) *sources {
	s := &sources{}
	s.ctx, s.end = context.WithCancel(context.Background())
	var err error
	if s.watcher, err = provider.NewWatcher(log); err != nil {
		log.Warn("files of providers are not watched: " + err.Error())
	}
	return s
}

// supplies are the providers of n; n may be nil.
func (n *Running) supplies() (list []*supply) {
	if n == nil {
		return nil
	}
	for _, p := range n.ProxyProviders {
		list = append(list, &p.supply)
	}
	for _, p := range n.RuleProviders {
		list = append(list, &p.supply)
	}
	return list
}

// follow ends the providers of prev that next has not, and begins those that are new.
func (s *sources) follow(prev, next *Running) {
	now := next.supplies()
	stays := make(map[*supply]bool, len(now))
	for _, p := range now {
		stays[p] = true
	}
	for _, p := range prev.supplies() {
		if !stays[p] {
			p.end()
			p.leave()
		}
	}
	for _, p := range now {
		if p.leave != nil {
			continue
		}
		p.leave = context.AfterFunc(s.ctx, p.end)
		s.running.Go(func() { _ = p.run(p.life, s.watcher) }) // it says itself what fails
	}
}

// stop ends all and waits for them.
func (s *sources) stop() {
	s.end()
	s.running.Wait()
	if s.watcher != nil {
		s.watcher.Close()
	}
}
