package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
)

// fetchTime bounds one download, so that a server which falls silent is asked again some time.
const fetchTime = 5 * time.Minute

// record is what a server said of the kept file. It holds for the content it names, from the
// origin it names, and for no other.
type record struct {
	fetch.Validators
	Sum    string // of the file
	Origin string // as a sum, since URLs are secrets
}

// loadKept takes the kept file.
func (s *Source[T]) loadKept() outcome {
	body, written, err := s.readFile()
	if errors.Is(err, fs.ErrNotExist) {
		return outcome{}
	}
	if err == nil {
		_, err = s.take(body)
	}
	if err != nil {
		return failed(fmt.Errorf("kept file: %w", err))
	}
	s.kept = s.recall(written)
	if s.kept.Origin != s.origin() {
		return outcome{} // better than nothing, but Run asks at once
	}
	return outcome{at: s.past(written)}
}

// download asks for a newer body than the one that is kept.
func (s *Source[T]) download(ctx context.Context) outcome {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	have := s.have()
	resp, err := s.c.Get(ctx, have)
	switch {
	case err != nil:
		return failed(err)
	case ctx.Err() != nil:
		return failed(ctx.Err()) // nobody wants it any more, and the file may be another's by now
	case resp.NotModified && have == fetch.Validators{}:
		return failed(errors.New("not modified, but nothing was at hand"))
	case resp.NotModified:
		return outcome{at: s.c.Now(), err: s.confirm(resp.Validators)}
	}
	changed, err := s.take(resp.Body)
	switch {
	case err != nil:
		return failed(err)
	case ctx.Err() != nil:
		return outcome{at: s.c.Now(), changed: changed, err: ctx.Err()} // as above
	}
	return outcome{at: s.c.Now(), changed: changed, err: s.keep(resp)}
}

// have is what to ask the server about. That is nothing where the file is not the one it spoke of:
// then the whole body is wanted.
func (s *Source[T]) have() fetch.Validators {
	if s.sum == "" || s.kept.Sum != s.sum || s.kept.Origin != s.origin() || !s.isKept() {
		return fetch.Validators{}
	}
	return s.kept.Validators
}

// isKept says whether the file holds the body that the value is from.
func (s *Source[T]) isKept() bool {
	sum, err := s.sumFile()
	return err == nil && sum == s.sum
}

// keep writes the body that the value is from now, and remembers what the server said of it.
func (s *Source[T]) keep(resp *fetch.Response) error {
	var err error
	if s.isKept() {
		err = s.touch()
	} else {
		err = s.c.Replace(s.c.Path, resp.Body)
	}
	if err != nil {
		return err
	}
	return s.remember(resp.Validators)
}

// confirm notes that the kept file is still the newest.
func (s *Source[T]) confirm(said fetch.Validators) error {
	old := s.kept.Validators
	now := fetch.Validators{
		ETag:         cmp.Or(said.ETag, old.ETag),
		LastModified: cmp.Or(said.LastModified, old.LastModified),
	}
	if err := s.touch(); err != nil || now == old {
		return err
	}
	return s.remember(now)
}

// touch makes the file's time say that it is the newest now.
func (s *Source[T]) touch() error {
	now := s.c.Now()
	return os.Chtimes(s.c.Path, now, now)
}

// remember keeps what the server said, for this run and the next.
func (s *Source[T]) remember(said fetch.Validators) error {
	s.kept = record{Validators: said, Sum: s.sum, Origin: s.origin()}
	if s.c.Memory == nil {
		return nil
	}
	b, err := json.Marshal(s.kept)
	if err == nil {
		err = s.c.Memory.Save(s.c.Path, b)
	}
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	return nil
}

// recall is what is known of the file that was just loaded. Where nothing is, the file is taken for
// one of this origin.
func (s *Source[T]) recall(written time.Time) record {
	if s.c.Memory == nil {
		said := fetch.Validators{LastModified: written.UTC().Format(http.TimeFormat)}
		return record{Validators: said, Sum: s.sum, Origin: s.origin()}
	}
	var r record
	b, ok := s.c.Memory.Load(s.c.Path)
	if !ok || json.Unmarshal(b, &r) != nil {
		return record{Origin: s.origin()}
	}
	return r
}

func (s *Source[T]) origin() string { return sumOf([]byte(s.c.Origin)) }
