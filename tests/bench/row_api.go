//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/exposition"
)

// What the API has to tell of in its rows: so many nodes in so many groups, rules, and live flows.
const (
	apiNodes  = 2000
	apiGroups = 20
	apiRules  = 10_000
)

// apiRows ask the controller; only ours has one.
func apiRows(p plan) []row {
	one := func(path, title, goal string, flows int) row {
		return row{
			Group: "api",
			Title: title,
			Doors: []kind{viaAPI},
			API:   true,
			Once:  p.Quick,
			Job:   job{Load: "api", Window: p.Window, Max: 200_000, Conns: 4, Path: path, Flows: flows},
			Metrics: []metric{
				{Unit: "CPU µs/request", Goal: goal, Of: cpuMicros},
				{Unit: "requests/s", More: true, Of: perSecond},
				{Unit: "p50 ms", Of: p50},
				{Unit: "KB", Of: func(s sample) float64 { return per(float64(s.Bytes)/1e3, s.Units) }},
				{Unit: "allocations/request", Of: func(s sample) float64 { return per(float64(s.Allocs), s.Units) }},
			},
		}
	}
	flows := idleTunnels()
	nodes := fmt.Sprintf("%d nodes in %d groups", apiNodes, apiGroups)
	all := []row{
		one("/version", "GET /version", "≤ 6", 0),
		one("/proxies", "GET /proxies, "+nodes, "≤ 800", 0),
		one("/providers/proxies", "GET /providers/proxies, "+nodes, "", 0),
		one("/rules", fmt.Sprintf("GET /rules, %d", apiRules), "≤ 500", 0),
		one("/connections", fmt.Sprintf("GET /connections, %d live", flows), "≤ 900", flows),
	}
	return append(all, streamRows(p)...)
}

// apiLoad is the load "api".
func apiLoad(j job, g gate) error {
	drop, err := j.holdFlows()
	defer drop()
	if err != nil {
		return err
	}
	clients := make([]*apiClient, j.Conns)
	for w := range clients {
		c, err := dialAPI(j.Door.Addr.String())
		if err != nil {
			return err
		}
		defer c.c.Close()
		clients[w] = c
	}
	body, err := clients[0].get(j.Path)
	if err != nil {
		return err
	}
	if !json.Valid(body) {
		return fmt.Errorf("%s is not JSON: %.100q", j.Path, body)
	}
	one := func(w int, _ int64) (int64, error) {
		body, err := clients[w].get(j.Path)
		return int64(len(body)), err
	}
	for n := range warmUp {
		if _, err := one(n%len(clients), 0); err != nil {
			return err
		}
	}
	if err := g.start(); err != nil {
		return err
	}
	return g.finish(repeat(j, one))
}

// holdFlows opens j.Flows tunnels that have moved 100 bytes each way; drop closes them.
func (j job) holdFlows() (drop func(), err error) {
	held := make([]net.Conn, j.Flows+1)
	drop = func() {
		for _, c := range held {
			if c != nil {
				c.Close()
			}
		}
	}
	in := door{Kind: viaSOCKS5, Addr: j.Door.Proxy, Origin: j.Door.Origin}
	r := repeat(job{Window: unitLimit, Max: j.Flows, Conns: 8}, func(_ int, n int64) (int64, error) {
		c, err := in.open()
		if err != nil {
			return 0, err
		}
		held[n] = c
		return 0, ping(c, 100, n)
	})
	if r.Units != int64(j.Flows) {
		return drop, fmt.Errorf("%d flows of %d: %s", r.Units, j.Flows, r.First)
	}
	return drop, nil
}

// apiClient is one connection to the controller that is kept open.
type apiClient struct {
	c    net.Conn
	r    *bufio.Reader
	body []byte
}

// get returns the body of an answer 200, which is good until the next one.
func (c *apiClient) get(path string) ([]byte, error) {
	if err := c.c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(c.c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		return nil, err
	}
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK || r.ContentLength <= 0 {
		return nil, fmt.Errorf("%s answered %s, %d bytes", path, r.Status, r.ContentLength)
	}
	if int64(cap(c.body)) < r.ContentLength {
		c.body = make([]byte, r.ContentLength+r.ContentLength/8)
	}
	c.body = c.body[:r.ContentLength]
	_, err = io.ReadFull(r.Body, c.body)
	return c.body, err
}

// dialAPI connects to the controller at addr.
func dialAPI(addr string) (*apiClient, error) {
	c, err := net.DialTimeout("tcp", addr, unitLimit)
	if err != nil {
		return nil, err
	}
	return &apiClient{c: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// counts are what the daemon itself has counted since it began.
type counts struct {
	allocs, encodes int64
}

// counts asks a daemon whose log-level is debug.
func (c *apiClient) counts() (n counts, err error) {
	var vars struct{ Memstats struct{ Mallocs int64 } }
	body, err := c.get("/debug/vars")
	if err == nil {
		err = json.Unmarshal(body, &vars)
	}
	if err != nil {
		return n, err
	}
	if body, err = c.get("/metrics"); err != nil {
		return n, err
	}
	m, err := exposition.Parse(string(body))
	if err != nil {
		return n, err
	}
	return counts{vars.Memstats.Mallocs, int64(m.Value("switchyard_api_snapshots_total"))}, nil
}

// apiConfig is a configuration with much to tell of.
func apiConfig() string {
	var b strings.Builder
	b.WriteString("proxies:\n")
	for i := range apiNodes {
		fmt.Fprintf(&b, "- {name: 节点 %d, type: socks5, server: 192.0.2.%d, port: 1080, udp: true}\n", i, i%250+1)
	}
	b.WriteString("proxy-groups:\n")
	for g := range apiGroups {
		fmt.Fprintf(&b, "- name: 组 %d\n  type: select\n  proxies:\n", g)
		for i := g; i < apiNodes; i += apiGroups {
			fmt.Fprintf(&b, "  - 节点 %d\n", i)
		}
	}
	b.WriteString("rules:\n")
	for i := range apiRules - 1 {
		fmt.Fprintf(&b, "- DOMAIN-SUFFIX,site%d.example%d.test,组 %d\n", i, i%977, i%apiGroups)
	}
	b.WriteString("- MATCH,DIRECT\n")
	return b.String()
}
