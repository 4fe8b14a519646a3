// Package provider keeps something that comes from elsewhere and changes there: it fetches, parses,
// keeps the last good value, refreshes it in time, and says how that went.
package provider

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
)

// Kind is where a source has its body from.
type Kind uint8

// The kinds.
const (
	HTTP   Kind = iota // downloaded, and kept in a file
	File               // a file that somebody else writes
	Inline             // part of the configuration
)

// String is the kind's word in the API.
func (k Kind) String() string {
	switch k {
	case HTTP:
		return "HTTP"
	case File:
		return "File"
	}
	return "Inline"
}

// Config says what a source is.
type Config[T any] struct {
	Name string
	Kind Kind
	// Path is the file that is read. For HTTP it is where the last good body is kept, and no other
	// source's; the file's time says when that body was last known to be the newest.
	Path string
	// Open and Replace are how Path is read and written; nil: os.Open and fetch.Replace.
	Open     func(path string) (*os.File, error)
	Replace  func(path string, data []byte) error
	Interval time.Duration // between refreshes of HTTP and File; 0: never by itself
	// Get downloads, HTTP only. It is called by one goroutine at a time.
	Get func(ctx context.Context, have fetch.Validators) (*fetch.Response, error)
	// Origin is what Get downloads from, such as the URL. A kept file that Memory knows to be of
	// another origin serves until the first download, which Run then does at once. Of Origin only
	// a hash is remembered.
	Origin string
	// Parse reads a body. It refuses one that is of no use, such as an empty one: the source then
	// keeps what it has.
	Parse func(data []byte) (T, error)
	// Use is told of each new value, one at a time, before Load or Update returns; nil is nobody.
	// It may call Value and State, which have the new value then, but not Load or Update.
	Use    func(T)
	Inline []byte // the body of Inline
	// Memory remembers validators across restarts. Without one a restart asks with the time of the
	// kept file, which confirms a file that was changed by hand.
	Memory Memory
	Log    *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
}

// Memory keeps small values across restarts. A source uses its Path as key.
type Memory interface {
	Load(key string) ([]byte, bool)
	Save(key string, value []byte) error
}

// State is what is known of a source.
type State struct {
	// UpdatedAt is when the value was last known to be the newest: at the last success or
	// confirmation; right after a start it is the file's time. It is zero for never.
	UpdatedAt time.Time
	TriedAt   time.Time // when the last attempt began; zero for never
	NextAt    time.Time // when the next begins by itself; zero for none
	Err       error     // of the last attempt, nil when it went well
	Loaded    bool      // there is a value
}

// Source is one named source. Its methods may be called from any goroutine; Run by one.
type Source[T any] struct {
	c     Config[T]
	turns turns
	moved chan struct{} // tells Run that NextAt may be another

	mu      sync.Mutex
	value   T
	state   State     // but for NextAt
	retryAt time.Time // after a failure that is to be made good soon; else zero
	seen    Look      // of the file that was read last

	// What only the one whose turn it is touches.
	sum    string   // of the body that value is from
	kept   record   // of the kept file
	fails  int      // attempts in a row
	warned []string // what has been said since the last success
}

// New returns a source that has nothing yet. It does nothing before Load, Update or Run.
func New[T any](c Config[T]) *Source[T] {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Open == nil {
		c.Open = os.Open
	}
	if c.Replace == nil {
		c.Replace = fetch.Replace
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Use == nil {
		c.Use = func(T) {}
	}
	return &Source[T]{c: c, moved: make(chan struct{}, 1)}
}

// Value returns the last good value, if there is one.
func (s *Source[T]) Value() (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.state.Loaded
}

// State returns what is known now.
func (s *Source[T]) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	st.NextAt = s.due()
	return st
}
