// Package client is the Go client of the controller. New returns it; each operation has a method
// that ends in WithResponse and decodes every answer the contract declares, and each feed has a
// method that begins with Each (lines over HTTP) or Watch (WebSocket).
package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
)

// New returns a client of the controller at server, such as http://127.0.0.1:9090.
func New(server string, opts ...ClientOption) (*API, error) {
	c, err := NewClient(server, opts...)
	if err != nil {
		return nil, err
	}
	return &API{c, &ClientWithResponses{c}}, nil
}

// API is the whole client: feeds and raw answers by Client, typed answers by ClientWithResponses.
type API struct {
	*Client
	*ClientWithResponses
}

// WithSecret sends the controller's secret with every request.
func WithSecret(secret string) ClientOption {
	return WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
		req.Header.Set("Authorization", "Bearer "+secret)
		return nil
	})
}

// WithUnixSocket reaches the controller over the Unix socket at path. The server of New then gives
// no more than the Host header; http://localhost does.
func WithUnixSocket(path string) ClientOption {
	var d net.Dialer
	return WithHTTPClient(&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
	}})
}

// StatusError is an answer that is not the one asked for.
type StatusError struct {
	Status  int    // the HTTP status
	Code    string // the stable code, empty if the answer has none
	Message string // the reason in words
}

// Error returns all of it.
func (e *StatusError) Error() string {
	return fmt.Sprintf("status %d: %s", e.Status, e.Message)
}
