package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Case is one request that was made from the contract.
type Case struct {
	Operation *Operation
	Name      string // what is special about it
	Target    string // path and query, as sent
	Body      string
	Valid     bool // if not, it must be answered 400 with the code body_invalid
}

// Cases makes requests for o: valid ones that try every parameter and member, and one per defect.
func Cases(o *Operation) []Case {
	g := &generator{o: o, path: map[string]string{}, query: url.Values{}}
	for _, p := range o.Parameters() {
		switch {
		case p.In == openapi3.ParameterInPath:
			g.path[p.Name] = url.PathEscape(fmt.Sprint(p.Example))
		case p.Required:
			g.query.Set(p.Name, fmt.Sprint(p.Example))
		}
	}
	if m := o.Body(); m != nil {
		g.body = encode(m.Example)
	}
	g.add("example", true, "", "", g.body)
	for _, p := range o.Parameters() {
		switch p.In {
		case openapi3.ParameterInPath:
			g.pathCases(p)
		case openapi3.ParameterInQuery: // what a header asks for is no matter of form
			g.queryCases(p)
		}
	}
	switch m := o.Body(); {
	case m == nil:
	case anything(m.Schema.Value):
		g.documentCases()
	default:
		g.bodyCases(m.Schema.Value)
	}
	return g.cases
}

type generator struct {
	o     *Operation
	path  map[string]string // the valid values, escaped
	query url.Values        // the required parameters, valid
	body  string            // a valid one
	cases []Case
}

// add adds a case whose query is the required parameters, the one called parameter as value.
func (g *generator) add(name string, valid bool, parameter, value, body string) {
	target := g.o.Path
	for k, v := range g.path {
		target = strings.Replace(target, "{"+k+"}", v, 1)
	}
	query := maps.Clone(g.query)
	if parameter != "" {
		query.Set(parameter, value)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	g.cases = append(g.cases, Case{g.o, name, target, body, valid})
}

func (g *generator) pathCases(p *openapi3.Parameter) {
	good := g.path[p.Name]
	f := func(name string, valid bool, raw string) {
		g.path[p.Name] = raw
		g.add(p.Name+" "+name, valid, "", "", g.body)
	}
	for _, s := range []string{"a/b", "日本 🇯🇵 01", "100%", "x?y#z", "a+b"} {
		f(s, true, url.PathEscape(s))
	}
	f("dots", true, "%2E%2E")
	f("lower-case escape", true, "a%2fb")
	f("bad escape", false, "%zz")
	f("cut escape", false, "a%2")
	f("not UTF-8", false, "%ff")
	if n := p.Schema.Value.MaxLength; n != nil {
		f("longest", true, strings.Repeat("a", int(*n)))
		f("too long", false, strings.Repeat("a", int(*n)+1))
	}
	g.path[p.Name] = good
}

func (g *generator) queryCases(p *openapi3.Parameter) {
	f := func(name string, valid bool, v any) {
		g.add(p.Name+" "+name, valid, p.Name, fmt.Sprint(v), g.body)
	}
	f("empty", !p.Required, "")
	if p.Required {
		query := g.query
		g.query = maps.Clone(query)
		delete(g.query, p.Name)
		g.add(p.Name+" missing", false, "", "", g.body)
		g.query = query
	}
	f("example", true, p.Example)
	s := p.Schema.Value
	lenient := p.Extensions["x-lenient"] == true
	for _, v := range s.Enum {
		f(fmt.Sprint(v), true, v)
	}
	if len(s.Enum) > 0 {
		f("unknown", lenient, "no-such-word")
		f("upper case", lenient, strings.ToUpper(fmt.Sprint(s.Enum[0])))
	}
	if s.Type.Is("integer") {
		f("word", lenient, "abc")
		f("fraction", lenient, "1000.5")
		f("huge", lenient, "99999999999999999999")
		if s.Min != nil {
			f("least", true, int64(*s.Min))
			f("too small", lenient, int64(*s.Min)-1)
		}
		if s.Max != nil {
			f("most", true, int64(*s.Max))
			f("too large", lenient, int64(*s.Max)+1)
		}
	}
	if n := s.MaxLength; n != nil {
		f("longest", true, strings.Repeat("a", int(*n)))
		f("too long", lenient, strings.Repeat("a", int(*n)+1))
	}
	if s.Type.Is("boolean") {
		f("word", lenient, "abc")
	}
	g.add("unknown parameter", true, "no-such-parameter", "1", g.body)
}

func (g *generator) bodyCases(s *openapi3.Schema) {
	for name, raw := range map[string]string{
		"empty": "", "not JSON": "nope", "cut": `{"a":`, "array": `[]`, "string": `"x"`,
		"number": `1`, "blank": " ",
	} {
		g.add("body "+name, false, "", "", raw)
	}
	if len(s.Required) == 0 {
		g.add("body {}", true, "", "", `{}`)
		g.add("body null", true, "", "", `null`)
	}
	if s.AdditionalProperties.Schema == nil { // else no member is unknown
		more := strings.TrimSuffix(g.body, "}") + `,"no-such-member":[1]}`
		g.add("body with an unknown member", true, "", "", more)
	} else {
		g.add("body with a member of another type", false, "", "", `{"0":[1]}`)
		g.add("body with a member that is null", false, "", "", `{"0":null}`)
	}
	g.add("body with more behind it", true, "", "", g.body+" trailing")
	g.memberCases(s, func(member string) string { return member }, "")
}

// documentCases tries bodies that are any JSON document. One that is too large is refused in another way.
func (g *generator) documentCases() {
	for name, raw := range map[string]string{
		"null": "null", "array": "[]", "string": `"日本"`, "number": "-1.5e+300", "false": "false",
		"with white space": " {\n\t\"a\": [ 1 , 2 ]\r\n}\n", "with line separators": "[\"\u2028\"]",
		"largest": `"` + strings.Repeat("x", g.most()-2) + `"`,
	} {
		g.add("body "+name, true, "", "", raw)
	}
	for name, raw := range map[string]string{
		"empty": "", "not JSON": "nope", "cut": `{"a":`, "blank": " ", "not UTF-8": "\"\xff\"",
		"with more behind it": g.body + " trailing", "twice": "1 2",
	} {
		g.add("body "+name, false, "", "", raw)
	}
}

// most is how many bytes a body may have.
func (g *generator) most() int {
	most, _ := g.o.Spec.Extensions["x-max-body"].(float64)
	return int(most)
}

// memberCases tries each member of s. wrap makes a whole body of an object with one member.
func (g *generator) memberCases(s *openapi3.Schema, wrap func(string) string, at string) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name].Value
		f := func(what string, valid bool, v any) {
			b, _ := json.Marshal(map[string]any{name: v})
			g.add(at+name+" "+what, valid, "", "", wrap(string(b)))
		}
		required := slices.Contains(s.Required, name)
		f("null", !required, nil)
		if required {
			g.add(at+name+" missing", false, "", "", wrap(`{}`))
		}
		upper, _ := json.Marshal(map[string]any{strings.ToUpper(name): valid(p)})
		f("valid", true, valid(p))
		g.add(at+name+" in upper case", true, "", "", wrap(string(upper)))
		for _, wrong := range wrongTypes(p) {
			f(fmt.Sprintf("as %T", wrong), false, wrong)
		}
		g.limitCases(p, f)
		if p.Type.Is("object") && len(p.Properties) > 0 {
			g.memberCases(p, func(member string) string {
				b, _ := json.Marshal(map[string]json.RawMessage{name: json.RawMessage(member)})
				return wrap(string(b))
			}, at+name+".")
		}
	}
}

func (g *generator) limitCases(p *openapi3.Schema, f func(what string, valid bool, v any)) {
	if p.Min != nil {
		f("too small", false, *p.Min-1)
	}
	if p.Max != nil {
		f("too large", false, *p.Max+1)
	}
	if p.MaxLength != nil && p.Pattern == "" {
		f("too long", false, strings.Repeat("a", int(*p.MaxLength)+1))
	}
	if len(p.Enum) > 0 || p.Pattern != "" {
		f("unknown word", false, "no-such-word")
		f("empty word", false, "")
	}
	if p.Type.Is("array") {
		f("with a wrong element", false, wrongTypes(p.Items.Value))
		if p.MaxItems != nil {
			f("with too many", false, slices.Repeat([]any{valid(p.Items.Value)}, int(*p.MaxItems)+1))
		}
	}
}

// valid returns a value of s that disturbs a running daemon least.
func valid(s *openapi3.Schema) any {
	switch {
	case s.Type.Is("boolean"):
		return false
	case s.Type.Is("integer") && s.Min != nil:
		return *s.Min
	case s.Type.Is("array"):
		return []any{}
	case s.Type.Is("object"):
		return map[string]any{}
	case s.Example != nil:
		return s.Example
	}
	return ""
}

// wrongTypes returns values of types that s is not of.
func wrongTypes(s *openapi3.Schema) []any {
	var list []any
	for name, v := range map[string]any{
		"string": "x", "integer": 1.5, "boolean": true, "array": []any{"x"},
		"object": map[string]any{"x": 1},
	} {
		if !s.Type.Is(name) || name == "integer" {
			list = append(list, v)
		}
	}
	return list
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it came from JSON
	}
	return string(b)
}
