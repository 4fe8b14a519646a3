package relay

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// request is a download of ours. It goes through the node or group called proxy, else where the rules
// send it.
func (r *Relay) request(url, proxy string) *fetch.Request {
	c := r.current.Load().Config
	agent := c.GlobalUA
	if agent == "" {
		agent = r.Agent
	}
	return &fetch.Request{
		URL: url, Header: make(http.Header), UserAgent: agent, Dial: r.dialer(proxy),
		Roots: authorities(c.TLS.CustomCertificates),
	}
}

// listRequest is the download of a provider's list: with the header fields that its user wants sent, and of limit
// bytes at the most, 0 for the usual bound.
func (r *Relay) listRequest(url, proxy string, header config.Header, limit int) *fetch.Request {
	req := r.request(url, proxy)
	for _, f := range header {
		req.Header[http.CanonicalHeaderKey(f.Name)] = f.Values
	}
	req.Limit = int64(limit)
	return req
}

// dialer dials for the daemon itself.
func (r *Relay) dialer(proxy string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q: %w", port, strconv.ErrRange)
		}
		f := &flow.Flow{Network: flow.TCP, Kind: flow.Inner, To: flow.Addr{Port: uint16(n)}}
		if f.To.Host, f.To.IP, err = flow.ParseHost(host); err != nil {
			return nil, err
		}
		if proxy == "" {
			return r.engine.Open(ctx, f)
		}
		o := r.Outbound(proxy)
		if o == nil {
			return nil, fmt.Errorf("no proxy or group is called %q", proxy)
		}
		return r.engine.OpenVia(ctx, f, o)
	}
}

// getGeo downloads a file of geo data.
func (r *Relay) getGeo(ctx context.Context, url string) ([]byte, error) {
	return r.Download(ctx, url, maxGeoFile)
}

// Download fetches url by the rules that run. The body is at most limit bytes.
func (r *Relay) Download(ctx context.Context, url string, limit int64) ([]byte, error) {
	req := r.request(url, "")
	req.Limit = limit
	answer, err := fetch.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// UpdateGeo downloads the geo data that rules need, checks it and uses it. Flows do not notice. What
// fails is said, and what was there before stays.
func (r *Relay) UpdateGeo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, geoTimeout)
	defer cancel()
	return r.geo.update(ctx, nil)
}
