package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/webui"
)

const (
	panelTimeout    = 5 * time.Minute // of one download, with all that belongs to it
	firstPanelRetry = time.Minute
	lastPanelRetry  = time.Hour
	keepPanelFor    = time.Hour // the version before, for pages that are open
)

// panels replaces web panels, one at a time.
type panels struct {
	get  func(ctx context.Context, url string) ([]byte, error)
	log  *slog.Logger
	poke chan struct{} // something is to be looked at

	mu      sync.Mutex
	running *replacement
}

// replacement is one that is under way. Who wants the same waits for it.
type replacement struct {
	dir, url string
	done     chan struct{}
	err      error // once done is closed
}

func newPanels(get func(context.Context, string) ([]byte, error), log *slog.Logger) *panels {
	return &panels{get: get, log: log, poke: make(chan struct{}, 1)}
}

// wake looks again at what is to be done.
func (p *panels) wake() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// replace downloads a panel and puts it in the place of what site has, or joins those who do.
func (p *panels) replace(ctx context.Context, site *webui.Site, url string) error {
	for {
		p.mu.Lock()
		under := p.running
		if under == nil {
			break
		}
		p.mu.Unlock()
		select {
		case <-under.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if under.dir == site.Dir() && under.url == url {
			return under.err
		}
	}
	mine := &replacement{dir: site.Dir(), url: url, done: make(chan struct{})}
	p.running = mine
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.running = nil
		p.mu.Unlock()
		close(mine.done)
	}()
	mine.err = p.download(ctx, site, url)
	if mine.err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // or the daemon stops
			p.log.Warn("web panel: " + mine.err.Error())
		}
		return mine.err
	}
	p.log.Info("web panel is updated", "dir", site.Dir())
	p.wake() // the version before is removed some day
	return nil
}

// download is the whole of it. Its errors begin with the words of the family.
func (p *panels) download(ctx context.Context, site *webui.Site, url string) (err error) {
	defer func() { // a bug that an archive brings to light ends the update and not the daemon
		if v := recover(); v != nil {
			err = fmt.Errorf("can't extract compressed file: panic: %v", v)
		}
	}()
	archive, err := p.get(ctx, url)
	if err != nil {
		return fmt.Errorf("can't download file: %w", err)
	}
	switch err := site.Replace(archive); {
	case errors.Is(err, webui.ErrFormat):
		return err
	case err != nil:
		return fmt.Errorf("can't extract compressed file: %w", err)
	}
	return nil
}

// getPanel downloads an archive.
func (r *Relay) getPanel(ctx context.Context, url string) ([]byte, error) {
	req := r.request(url, "")
	req.Limit = webui.MaxArchive
	answer, err := fetch.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// Panel is the web panel that is served; nil is none.
func (r *Relay) Panel() *webui.Site { return r.current.Load().panel }

// UpdatePanel downloads the web panel and puts it in the place of the one that is there, also where
// none is served. Calls at the same time share one download. With an error the old one stays.
func (r *Relay) UpdatePanel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, panelTimeout)
	defer cancel()
	now := r.current.Load()
	site := now.panel
	if site == nil {
		p, err := now.Config.Panel()
		if err != nil {
			return err
		}
		site = webui.New(p.Dir, p.Name)
	}
	return r.panels.replace(ctx, site, now.Config.Controller.PanelURL())
}

// keepPanel downloads the panel where its directory is missing or empty, and tidies up behind
// updates. It ends with ctx.
func (r *Relay) keepPanel(ctx context.Context) {
	timer := time.NewTimer(lastPanelRetry)
	defer timer.Stop()
	var site *webui.Site
	retry := time.Duration(0)
	for {
		poked := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.panels.poke:
			poked = true
		}
		if now := r.Panel(); now != site {
			r.tidy(site, 0)
			if site = now; site != nil {
				r.warnPanel(site.Mend())
			}
		}
		if poked {
			retry = 0
		}
		next := r.tidy(site, keepPanelFor)
		if !r.fillPanel(ctx, site) {
			retry = min(max(2*retry, firstPanelRetry), lastPanelRetry)
			next = min(next, retry)
		}
		timer.Reset(next)
	}
}

// tidy removes the version before once it has been kept for long enough, and returns when to look
// again.
func (r *Relay) tidy(site *webui.Site, keep time.Duration) time.Duration {
	if site == nil {
		return lastPanelRetry
	}
	left, err := site.Forget(keep)
	r.warnPanel(err)
	if left == 0 {
		return lastPanelRetry
	}
	return left
}

func (r *Relay) warnPanel(err error) {
	if err != nil {
		r.log.Warn("web panel: " + err.Error())
	}
}

// fillPanel downloads the panel where there is none. It says whether there is nothing left to do.
func (r *Relay) fillPanel(ctx context.Context, site *webui.Site) bool {
	if site == nil {
		return true
	}
	empty, err := site.Empty()
	if err != nil {
		r.warnPanel(err)
		return true // it is there, and cannot be read
	}
	if !empty {
		return true
	}
	return r.UpdatePanel(ctx) == nil // which logs
}

// webPanel finds the directory that is served. What has not changed is not looked at again.
func (b *builder) webPanel() {
	c := b.Config
	if c.Controller.UI == "" {
		return
	}
	if b.prev != nil && b.prev.panel != nil && samePanel(c, b.prev.Config) {
		b.Running.panel = b.prev.panel
		return
	}
	p, err := c.Panel()
	if err != nil {
		b.report(c.Place("external-ui"), "external-ui", err.Error())
		return
	}
	b.Running.panel = webui.New(p.Dir, p.Name)
}

func samePanel(c, prev *config.Config) bool {
	return c.Controller.UI == prev.Controller.UI && c.Controller.UIName == prev.Controller.UIName
}
