package contract

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

func load(t *testing.T) *Document {
	t.Helper()
	d, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocument checks the document itself, every example in it included.
func TestDocument(t *testing.T) {
	d := load(t)
	if err := d.T.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	written, err := openapi3.NewLoader().LoadFromData(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := encode(d.T), encode(written); got != want {
		t.Fatal("the binary holds another document than openapi.yaml")
	}
}

// TestDocumentComplete checks what linters leave out: descriptions, examples and statuses.
func TestDocumentComplete(t *testing.T) {
	d := load(t)
	for _, o := range d.Operations {
		f := func(ok bool, what string) {
			t.Helper()
			if !ok {
				t.Errorf("%s %s: %s", o.Method, o.Path, what)
			}
		}
		f(o.Spec.OperationID != "", "no id")
		f(o.Spec.Summary != "" && o.Spec.Description != "", "no summary or description")
		f(len(o.Spec.Tags) == 1, "no tag")
		want := []string{"403", "500"}
		if o.Guarded() {
			want = append(want, "401")
		}
		for _, p := range o.Parameters() {
			f(p.Description != "" && p.Example != nil, "parameter "+p.Name+" has no description or example")
			if p.Extensions["x-lenient"] != true {
				want = append(want, "400")
			}
		}
		if m := o.Body(); m != nil {
			want = append(want, "400")
			f(m.Example != nil, "the body has no example")
		}
		_, _, socket, _ := o.Stream()
		if socket {
			want = append(want, "400", "503")
		}
		for _, status := range want {
			f(o.Spec.Responses.Value(status) != nil, "status "+status+" is not declared")
		}
		for status, r := range o.Spec.Responses.Map() {
			text := r.Value.Description
			f(text != nil && *text != "", "status "+status+" has no description")
			for _, m := range r.Value.Content {
				f(m.Example != nil || len(m.Examples) > 0, "status "+status+" has no example")
			}
		}
	}
	for name, s := range d.T.Components.Schemas {
		if s.Value.Description == "" {
			t.Errorf("schema %s has no description", name)
		}
		for member, p := range s.Value.Properties {
			if p.Value.Description == "" {
				t.Errorf("%s.%s has no description", name, member)
			}
		}
		for _, member := range s.Value.Required {
			if s.Value.Properties[member] == nil {
				t.Errorf("%s requires %s, which it does not have", name, member)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	d := load(t)
	f := func(method, path, want string, allow ...string) {
		t.Helper()
		o, got := d.Match(method, path)
		id := ""
		if o != nil {
			id = o.Spec.OperationID
		}
		if id != want || !slices.Equal(got, allow) {
			t.Fatalf("Match(%s %s) = %q %v; want %q %v", method, path, id, got, want, allow)
		}
	}
	f("GET", "/", "getHello")
	f("GET", "/proxies", "listProxies")
	f("GET", "/proxies/", "listProxies")
	f("GET", "/proxies/a%2Fb", "getProxy")
	f("PUT", "/proxies/a%2Fb/", "selectProxy")
	f("GET", "/proxies/a/b", "")
	f("GET", "/version/", "")
	f("POST", "/version", "", "GET")
	f("GET", "/connections/x", "", "DELETE")
}

// TestCases shows that every operation is tried, and that a valid request is valid by the document.
func TestCases(t *testing.T) {
	d := load(t)
	n, defects := 0, 0
	for _, o := range d.Operations {
		cases := Cases(o)
		if len(cases) == 0 || !cases[0].Valid {
			t.Fatalf("%s %s: no valid case", o.Method, o.Path)
		}
		for _, c := range cases {
			n++
			if !c.Valid {
				defects++
			}
		}
	}
	if n < 300 || defects < 200 {
		t.Fatalf("%d cases, %d of them defects", n, defects)
	}
}
