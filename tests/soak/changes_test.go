//go:build linux

package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
)

func (s *soak) changes() []task {
	return []task{
		every(2500*time.Millisecond, s.reload),
		every(700*time.Millisecond, s.update),
		every(600*time.Millisecond, s.change),
		every(900*time.Millisecond, s.test),
	}
}

// call sends a request to the API, and wants one of the statuses.
func (s *soak) call(ctx context.Context, method, path, body string, statuses ...int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.d.BaseURL+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+s.d.Secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", method, path, err)
	}
	for _, status := range statuses {
		if res.StatusCode == status {
			return string(b), nil
		}
	}
	return "", fmt.Errorf("%s %s: %s %.200s", method, path, res.Status, b)
}

// file makes one of the configurations the one of the file, as the daemon got it when it was started.
func (s *soak) file(n int, level string) (text string, err error) {
	_, port, _ := strings.Cut(s.d.Mixed, ":")
	text = strings.ReplaceAll(s.config(n, level), "MIXED", port) + "\nexternal-controller: 127.0.0.1:0\n"
	err = os.WriteFile(s.d.File+".new", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(s.d.File+".new", s.d.File)
	}
	return text, err
}

// reload changes the configuration, by a signal or by the API; each of them brings both.
func (s *soak) reload(ctx context.Context, n int) error {
	text, err := s.file(n/2%2, "info")
	if err != nil {
		return err
	}
	s.done.reloads.Add(1)
	if n%2 == 0 {
		return syscall.Kill(s.d.PID(), syscall.SIGHUP)
	}
	payload, err := json.Marshal(api.ConfigSource{Payload: text})
	if err != nil {
		return err
	}
	_, err = s.call(ctx, http.MethodPut, "/configs?force=true", string(payload), http.StatusNoContent)
	return err
}

// update loads the providers anew. Their server has good days and bad days.
func (s *soak) update(ctx context.Context, n int) error {
	path := []string{"/providers/proxies/sub", "/providers/rules/sites"}[n%2]
	said, err := s.call(ctx, http.MethodPut, path, "", http.StatusNoContent, http.StatusServiceUnavailable)
	s.done.updates.Add(1)
	if said != "" {
		s.done.failed.Add(1)
	}
	return err
}

// change switches groups, and what else can be changed while it runs.
func (s *soak) change(ctx context.Context, n int) error {
	group := []string{"switched", "drained"}[n%2]
	member := []string{"n1", "n2", "DIRECT"}[n/2%3]
	ctx = context.WithoutCancel(ctx) // what is sent is chosen, and so its answer is waited for
	_, err := s.call(ctx, http.MethodPut, "/proxies/"+group, fmt.Sprintf(`{"name":%q}`, member), http.StatusNoContent)
	if err != nil {
		return err
	}
	s.done.switches.Add(1)
	s.chosen[group] = member
	switch n % 10 {
	case 3:
		_, err = s.call(ctx, http.MethodPost, "/cache/dns/flush", "", http.StatusNoContent)
	case 6:
		_, err = s.call(ctx, http.MethodPatch, "/configs", `{"allow-lan":false,"log-level":"info"}`, http.StatusNoContent)
	case 8: // half of the rules of one configuration are not there in the other
		_, err = s.call(ctx, http.MethodPatch, "/rules/disable", `{"0":true}`, http.StatusNoContent)
	case 9:
		_, err = s.call(ctx, http.MethodPatch, "/rules/disable", `{"0":false}`, http.StatusNoContent)
	}
	return err
}

// test has nodes tested. One that a list has no longer is not there.
func (s *soak) test(ctx context.Context, n int) error {
	query := "?timeout=2000&url=" + url.QueryEscape(s.o.web+"/204")
	path := []string{
		"/proxies/n1/delay" + query, "/group/auto/delay" + query, "/proxies/dead/delay" + query,
		"/providers/proxies/sub/healthcheck", "/proxies/auto/delay" + query,
	}[n%5]
	s.done.tests.Add(1)
	_, err := s.call(ctx, http.MethodGet, path, "", 200, 204, 503, 504)
	return err
}

// choose makes member the choice of a group.
func (s *soak) choose(group, member string) {
	s.t.Helper()
	if status, body := s.d.Do(s.t, http.MethodPut, "/proxies/"+group, fmt.Sprintf(`{"name":%q}`, member)); status != 204 {
		s.t.Fatalf("choose %s in %s: %d %s", member, group, status, body)
	}
}
