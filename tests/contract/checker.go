// Package contract holds a running daemon against openapi.yaml, in both directions: every answer is
// validated, and requests are made from the document, valid ones and one for each defect.
package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/switchyard-proxy/switchyard/gen/spec"
)

const (
	jsonType  = "application/json"
	linesType = "application/x-ndjson"
	textType  = "text/plain"
)

// Operation is one operation of the contract.
type Operation struct {
	Method   string
	Path     string // with {parameters}
	Item     *openapi3.PathItem
	Spec     *openapi3.Operation
	segments []string
}

// Slashed tells whether the path may end with a slash.
func (o *Operation) Slashed() bool { return o.Spec.Extensions["x-trailing-slash"] == true }

// Stream returns what the operation says of its stream; ok is false if it has none.
func (o *Operation) Stream() (item string, lines, socket, ok bool) {
	x, ok := o.Spec.Extensions["x-stream"].(map[string]any)
	if !ok {
		return "", false, false, false
	}
	return x["item"].(string), x["ndjson"] == true, x["ws"] == true, true
}

// Parameters returns those of the path and of the operation.
func (o *Operation) Parameters() []*openapi3.Parameter {
	var list []*openapi3.Parameter
	for _, p := range slices.Concat(o.Item.Parameters, o.Spec.Parameters) {
		list = append(list, p.Value)
	}
	return list
}

// Guarded tells whether the operation wants the secret.
func (o *Operation) Guarded() bool {
	if o.Spec.Security == nil {
		return true // the document's own
	}
	open := slices.ContainsFunc(*o.Spec.Security, func(r openapi3.SecurityRequirement) bool { return len(r) == 0 })
	return !open && len(*o.Spec.Security) > 0
}

// Body returns the schema of the request's body, nil if there is none.
func (o *Operation) Body() *openapi3.MediaType {
	if o.Spec.RequestBody == nil {
		return nil
	}
	return o.Spec.RequestBody.Value.Content[jsonType]
}

// Document is the contract.
type Document struct {
	T          *openapi3.T
	Operations []*Operation
}

// Load reads the contract from the binary.
func Load() (*Document, error) {
	t, err := openapi3.NewLoader().LoadFromData([]byte(spec.JSON()))
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	d := &Document{T: t}
	for _, path := range t.Paths.InMatchingOrder() {
		item := t.Paths.Value(path)
		ops := item.Operations()
		for _, method := range []string{"GET", "PUT", "PATCH", "POST", "DELETE"} {
			if op := ops[method]; op != nil {
				d.Operations = append(d.Operations, &Operation{
					Method: method, Path: path, Item: item, Spec: op, segments: strings.Split(path, "/")[1:],
				})
			}
		}
	}
	return d, nil
}

// Match finds the operation of a request by its path as sent, so that an encoded slash stays inside
// its segment. allow holds the methods of the path when none of them is method.
func (d *Document) Match(method, rawPath string) (op *Operation, allow []string) {
	for _, o := range d.Operations {
		segments := strings.Split(rawPath, "/")[1:]
		if n := len(segments) - 1; n > 0 && segments[n] == "" && o.Slashed() {
			segments = segments[:n]
		}
		if !o.covers(segments) {
			continue
		}
		if o.Method == method {
			return o, nil
		}
		allow = append(allow, o.Method)
	}
	slices.Sort(allow)
	return nil, slices.Compact(allow)
}

func (o *Operation) covers(segments []string) bool {
	return slices.EqualFunc(o.segments, segments, func(want, got string) bool {
		return want == got || strings.HasPrefix(want, "{") && got != ""
	})
}

// Checker is a transport that holds every answer against the contract. An answer that breaks it
// comes back as an error of the request. A stream of lines is checked line by line as it is read.
type Checker struct {
	Document *Document
	Base     http.RoundTripper
}

// RoundTrip sends the request and checks the answer.
func (c *Checker) RoundTrip(req *http.Request) (*http.Response, error) {
	base := c.Base
	if base == nil {
		base = http.DefaultTransport
	}
	res, err := base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	op, allow := c.Document.Match(req.Method, req.URL.EscapedPath())
	if op != nil && res.StatusCode == http.StatusOK && res.Header.Get("Content-Type") == linesType {
		schema := op.response(http.StatusOK, linesType)
		if schema == nil {
			res.Body.Close()
			return nil, fmt.Errorf("%s %s: a stream is not in the contract", op.Method, op.Path)
		}
		check := func(line []byte) error { return checkJSON(schema, line) }
		res.Body = &lineChecker{ReadCloser: res.Body, check: check}
		return res, nil
	}
	b, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	if op == nil {
		err = checkUnrouted(res, b, allow)
	} else {
		err = c.check(op, req, res, b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: status %d, body %.200q: %w",
			req.Method, req.URL.RequestURI(), res.StatusCode, b, err)
	}
	return res, nil
}

func (o *Operation) response(status int, contentType string) *openapi3.Schema {
	r := o.Spec.Responses.Status(status)
	if r == nil {
		return nil
	}
	if m := r.Value.Content[contentType]; m != nil {
		return m.Schema.Value
	}
	return nil
}

func (c *Checker) check(op *Operation, req *http.Request, res *http.Response, b []byte) error {
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: req,
			Route: &routers.Route{
				Spec: c.Document.T, Path: op.Path, PathItem: op.Item, Method: op.Method, Operation: op.Spec,
			},
		},
		Status:  res.StatusCode,
		Header:  res.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	in.SetBodyBytes(b)
	schema := op.response(res.StatusCode, jsonType)
	in.Options.ExcludeResponseBody = schema != nil && anything(schema)
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		return err
	}
	contentType := res.Header.Get("Content-Type")
	if schema == nil && strings.HasPrefix(contentType, textType) && op.response(res.StatusCode, contentType) != nil {
		return nil
	}
	if schema == nil {
		if len(b) > 0 || contentType != "" {
			return fmt.Errorf("a body of type %q where none is declared", contentType)
		}
		return nil
	}
	if contentType != jsonType {
		return fmt.Errorf("content type %q", contentType)
	}
	if !bytes.HasSuffix(b, []byte("\n")) || bytes.Count(b, []byte("\n")) != 1 {
		return errors.New("not one line with a newline at its end")
	}
	return checkJSON(schema, b)
}

// checkUnrouted checks what is answered to a path or method that is not in the contract.
func checkUnrouted(res *http.Response, b []byte, allow []string) error {
	if len(allow) == 0 {
		isJSON := strings.HasPrefix(res.Header.Get("Content-Type"), jsonType)
		if res.StatusCode != http.StatusNotFound || isJSON {
			return errors.New("an unknown path is a 404 of plain text")
		}
		return nil
	}
	if res.StatusCode != http.StatusMethodNotAllowed || len(b) > 0 {
		return errors.New("a wrong method is a 405 without a body")
	}
	if got, want := res.Header.Get("Allow"), strings.Join(allow, ", "); got != want {
		return fmt.Errorf("the Allow field is %q; want %q", got, want)
	}
	return nil
}

// checkJSON validates a document, and finds members that its schema does not name.
func checkJSON(schema *openapi3.Schema, b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if anything(schema) {
		return nil
	}
	if err := schema.VisitJSON(v, openapi3.MultiErrors()); err != nil {
		return err
	}
	return undeclared(schema, v, "")
}

// anything tells whether a schema allows every document. openapi3 takes null out, which the specification
// does not.
func anything(s *openapi3.Schema) bool {
	return s.Type == nil && len(s.OneOf) == 0 && len(s.Properties) == 0
}

func undeclared(schema *openapi3.Schema, v any, at string) error {
	if len(schema.OneOf) > 0 {
		for _, s := range schema.OneOf {
			if s.Value.VisitJSON(v) == nil {
				return undeclared(s.Value, v, at)
			}
		}
	}
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			if err := undeclared(schema.Items.Value, e, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		for k, e := range v {
			s := schema.Properties[k]
			if s == nil {
				s = schema.AdditionalProperties.Schema
			}
			if s == nil {
				return fmt.Errorf("%s.%s is not declared", at, k)
			}
			if err := undeclared(s.Value, e, at+"."+k); err != nil {
				return err
			}
		}
	}
	return nil
}

// lineChecker checks each line that passes through.
type lineChecker struct {
	io.ReadCloser
	check func(line []byte) error
	line  []byte
}

// Read reads, and fails when a line that ends in what was read breaks the contract.
func (l *lineChecker) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			l.line = append(l.line, rest...)
			break
		}
		l.line = append(l.line, rest[:i]...)
		rest = rest[i+1:]
		if err := l.check(l.line); err != nil {
			return n, fmt.Errorf("line %q: %w", l.line, err)
		}
		l.line = l.line[:0]
	}
	return n, err
}
