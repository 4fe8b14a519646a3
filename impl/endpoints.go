package impl

import (
	"maps"
	"net"
	"path/filepath"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
)

// endpoint names a listening socket of the API.
type endpoint struct{ kind, addr string }

// endpoints are the sockets that a configuration asks for.
func endpoints(c *config.Config) (list []endpoint) {
	for _, e := range []endpoint{
		{"tcp", c.Controller.Addr}, {"tls", c.Controller.TLSAddr}, {"unix", unixPath(c)}, {"pipe", pipeName(c)},
	} {
		if e.addr != "" {
			list = append(list, e)
		}
	}
	return list
}

// unixPath is where the Unix socket is; "" for none.
func unixPath(c *config.Config) string {
	path := c.Controller.Unix
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(c.Paths.Home, path)
	}
	return path
}

// serving is the socket that serves e already, and what it is known as; nil is that there is none.
func (c *Controller) serving(e endpoint) (endpoint, *listener) {
	for live, l := range c.live {
		if live == e || live.kind == e.kind && l.Addr().String() == e.addr {
			return live, l
		}
	}
	return e, nil
}

// going are the sockets that next asks for no more.
func (c *Controller) going(next *config.Config) map[endpoint]*listener {
	going := maps.Clone(c.live)
	for _, e := range endpoints(next) {
		e, _ = c.serving(e)
		delete(going, e)
	}
	return going
}

// Plan implements relay.Planner.
func (c *Controller) Plan(next *config.Config) (list []config.Socket) {
	going := c.going(next)
	for _, e := range endpoints(next) {
		s := config.Socket{Owner: c.Name(), Network: e.network(), Addr: e.addr, Fate: config.Opened}
		if _, l := c.serving(e); l != nil {
			s.Fate = config.Kept
		} else if old, ok := samePort(going, e.addr); ok {
			s.Fate, s.From = config.Replaced, old.addr
			delete(going, old)
		}
		list = append(list, s)
	}
	for e := range going {
		list = append(list, config.Socket{Owner: c.Name(), Network: e.network(), Addr: e.addr, Fate: config.Closed})
	}
	return list
}

func (e endpoint) network() string {
	if e.kind == "tls" {
		return "tcp"
	}
	return e.kind
}

// samePort finds a TCP socket that has the port of addr.
func samePort(live map[endpoint]*listener, addr string) (endpoint, bool) {
	_, port, _ := net.SplitHostPort(addr)
	for e, l := range live {
		if _, old, _ := net.SplitHostPort(e.addr); l.tcp != nil && old == port {
			return e, true
		}
	}
	return endpoint{}, false
}

// listening are the sockets of the API, and whether they are served.
func (c *Controller) listening() (list []vitals.Listener) {
	live := c.shown.Load()
	if live == nil {
		return nil
	}
	for e, l := range *live {
		list = append(list, vitals.Listener{Network: e.kind, Addr: e.addr, Serving: !l.down.Load()})
	}
	return list
}
