//go:build linux

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
)

func (s *soak) readers() []task {
	fast := int32(100)
	tasks := []task{
		every(50*time.Millisecond, s.get),
		every(300*time.Millisecond, s.sdkGets),
		watch(s, func(ctx context.Context) iter.Seq2[api.Traffic, error] { return s.sdk.WatchTraffic(ctx) }),
		watch(s, func(ctx context.Context) iter.Seq2[api.Traffic, error] { return s.sdk.EachTraffic(ctx) }),
		watch(s, func(ctx context.Context) iter.Seq2[api.Memory, error] { return s.sdk.WatchMemory(ctx) }),
		watch(s, func(ctx context.Context) iter.Seq2[api.LogEvent, error] { return s.sdk.WatchLogEvent(ctx, nil) }),
		watch(s, func(ctx context.Context) iter.Seq2[api.StructuredLog, error] {
			level := api.LogLevelDebug
			return s.sdk.EachStructuredLog(ctx, &api.StreamLogsParams{Level: &level})
		}),
		every(time.Second, s.deafReader),
	}
	connections := watch(s, func(ctx context.Context) iter.Seq2[api.Connections, error] {
		return s.sdk.WatchConnections(ctx, &api.GetConnectionsParams{Interval: &fast})
	})
	return append(tasks, times(3, connections)...)
}

// watch reads feeds, each for some messages, and begins anew.
func watch[T any](s *soak, open func(context.Context) iter.Seq2[T, error]) task {
	return every(100*time.Millisecond, func(ctx context.Context, n int) error {
		seen := 0
		for _, err := range open(ctx) {
			if err != nil {
				return fmt.Errorf("%T: %w", *new(T), err)
			}
			s.done.messages.Add(1)
			if seen++; seen > 5+n%20 {
				break
			}
		}
		return nil
	})
}

// get gets everything there is.
func (s *soak) get(ctx context.Context, n int) error {
	paths := []string{
		"/version", "/configs", "/proxies", "/proxies/kept", "/group", "/group/auto", "/providers/proxies",
		"/providers/proxies/sub", "/providers/rules", "/rules", "/connections", "/healthchecks", "/metrics", "/livez",
		"/dns/query?name=n1.real.test&type=A", "/openapi.json", "/docs", "/nothing", "/debug/vars", "/storage/soak",
	}
	path := paths[n%len(paths)]
	body, err := s.call(ctx, http.MethodGet, path, "", 200, 404)
	if err != nil {
		return err
	}
	s.done.gets.Add(1)
	if strings.HasPrefix(body, "{") && !json.Valid([]byte(body)) {
		return fmt.Errorf("GET %s: %.200s", path, body)
	}
	return nil
}

// sdkGets decodes answers as programs do.
func (s *soak) sdkGets(ctx context.Context, _ int) error {
	p, err := s.sdk.ListProxiesWithResponse(ctx)
	if err != nil || p.JSON200 == nil {
		return fmt.Errorf("ListProxies: %v, %w", p, err)
	}
	c, err := s.sdk.GetConnectionsWithResponse(ctx, nil)
	if err != nil || c.JSON200 == nil {
		return fmt.Errorf("GetConnections: %v, %w", c, err)
	}
	r, err := s.sdk.ListRulesWithResponse(ctx)
	if err != nil || r.JSON200 == nil {
		return fmt.Errorf("ListRules: %v, %w", r, err)
	}
	return nil
}

// deafReader opens a feed with much to tell, and leaves without a word of it.
func (s *soak) deafReader(ctx context.Context, n int) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(s.d.BaseURL, "http://"))
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	path := []string{"/logs?level=debug", "/traffic", "/memory"}[n%3]
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", path, s.d.Secret); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 12)
	if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 200" {
		return errors.Join(fmt.Errorf("%s: %q", path, head), err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(800 * time.Millisecond):
	}
	return nil
}
