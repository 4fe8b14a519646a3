package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// The schema is Go structs with tags, read by reflection; this file is the reader.
//
//	key:"mixed-port"   the key of a field; ",named" makes a map with names a list in file order
//	range:"0-65535"    the numbers that are allowed
//	unit:"ms"          the unit of a time.Duration; seconds if absent
//	check:"cidr"       what a string must look like
//	one:"a b c"        the words that are allowed, in any case
//	secret:"yes"       a value that is never quoted
//	weak:"yes"         scalars below may be written as one another: "443" is 443, 1 is true

// decoder collects what there is to say while values are read.
type decoder struct {
	file    string
	diags   Diagnostics
	dropped int
	hints   int
	visits  int
	merges  int
	large   bool           // visits are too many, which was reported
	places  map[string]Pos // by path, of the keys of the top level and of some below dns
}

// maxVisits bounds the values read from one file, so that aliases of aliases cannot multiply.
const maxVisits = 8 << 20

// value is a node with its place in the document.
type value struct {
	d    *decoder
	n    *yaml.Node
	path string
	weak bool // scalars may be written as one another
	safe bool // may be quoted; false where a secret may be
	deep int  // merge keys followed on the way here
}

func (d *decoder) report(s Severity, at Pos, path, message, hint string) {
	if len(d.diags) >= maxDiagnostics {
		d.dropped++
		return
	}
	d.diags = append(d.diags, Diagnostic{
		Severity: s, File: d.file, Line: at.Line, Column: at.Column, Path: path, Message: message, Hint: hint,
	})
}

// nearest is a hint, as long as hints are not too many.
func (d *decoder) nearest(name string, candidates []string) string {
	if d.hints++; d.hints > maxHints {
		return ""
	}
	return DidYouMean(name, candidates)
}

// place notes where something stands whose value does not say so.
func (d *decoder) place(path string, at Pos) {
	if d.places != nil {
		d.places[path] = at
	}
}

func (v value) pos() Pos { return Pos{v.n.Line, v.n.Column} }

func (v value) fail(format string, args ...any) {
	v.d.report(Error, v.pos(), v.path, fmt.Sprintf(format, args...), "")
}

// resolve follows an alias. It says whether there is anything to read.
func (v *value) resolve() bool {
	for range 32 {
		if v.n.Kind != yaml.AliasNode {
			break
		}
		v.n = v.n.Alias
	}
	if v.d.visits++; v.d.visits > maxVisits {
		v.tooLarge()
		return false
	}
	return v.n.Kind != yaml.AliasNode
}

// tooLarge reports, once, that the document is.
func (v value) tooLarge() {
	if !v.d.large {
		v.d.large = true
		v.fail("the document is too large once its aliases are followed")
	}
}

func (v value) isNull() bool { return v.n.Kind == yaml.ScalarNode && v.n.Tag == "!!null" }

// got describes a value for a message without quoting what may be secret.
func (v value) got() string {
	switch v.n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch {
	case !v.safe:
		return "something else"
	case len(v.n.Value) > 80:
		return "a long text"
	case strings.Contains(v.n.Value, "://"), strings.Contains(v.n.Value, "@"):
		return "a URL" // which may hold a password
	}
	return strconv.Quote(v.n.Value)
}

// unmarshaler is a type that reads itself.
type unmarshaler interface{ decode(v value) }

// field is a key and where its value goes.
type field struct {
	to  reflect.Value
	tag reflect.StructTag
}

// fields lists the keys of structs; a struct without a key is part of the one around it.
func fields(into map[string]field, s reflect.Value) {
	for i := range s.NumField() {
		t := s.Type().Field(i)
		key, _, _ := strings.Cut(t.Tag.Get("key"), ",")
		switch {
		case key != "":
			into[key] = field{s.Field(i), t.Tag}
		case t.Anonymous && t.Type.Kind() == reflect.Struct && t.Type != reflect.TypeFor[Pos]():
			fields(into, s.Field(i))
		}
	}
}

// Places are where the values of a map's keys stand.
type Places map[string]Pos

// At is where the value of a key stands, or the map that should have it.
func (p Places) At(key string, otherwise Pos) Pos {
	if at, ok := p[key]; ok {
		return at
	}
	return otherwise
}

// object reads a map into structs. Unknown keys are warnings, with the nearest known one, unless
// open. It notes the place of the map in the structs that have a Pos, and those of its keys in one with Places.
func (v value) object(open bool, targets ...any) {
	known := make(map[string]field)
	var places *Places
	for _, t := range targets {
		s := reflect.ValueOf(t).Elem()
		fields(known, s)
		if p := s.FieldByName("Pos"); p.IsValid() {
			p.Set(reflect.ValueOf(v.pos()))
		}
		if p := s.FieldByName("Places"); p.IsValid() {
			places = p.Addr().Interface().(*Places)
			*places = make(Places)
		}
	}
	for _, e := range v.entries() {
		if v.path == "" || v.path == "dns" {
			v.d.place(e.val.path, Pos{e.key.Line, e.key.Column})
		}
		if places != nil && e.val.n.Kind == yaml.ScalarNode {
			(*places)[e.key.Value] = e.val.pos()
		}
		f, ok := known[e.key.Value]
		if !ok {
			if !open && !strings.HasPrefix(e.key.Value, "x-") {
				names := make([]string, 0, len(known))
				for name := range known {
					names = append(names, name)
				}
				slices.Sort(names)
				v.d.report(Warning, Pos{e.key.Line, e.key.Column}, e.val.path, "unknown key", v.d.nearest(e.key.Value, names))
			}
			continue
		}
		e.val.field(f)
	}
}

// field reads one value. A null leaves the default.
func (v value) field(f field) {
	if !v.resolve() || v.isNull() {
		return
	}
	v.weak = v.weak || f.tag.Get("weak") != ""
	v.safe = v.safe && f.tag.Get("secret") == ""
	if _, opt, _ := strings.Cut(f.tag.Get("key"), ","); opt == "named" {
		v.named(f)
		return
	}
	if u, ok := f.to.Addr().Interface().(unmarshaler); ok {
		u.decode(v)
		return
	}
	switch p := f.to.Addr().Interface().(type) {
	case *netip.Prefix:
		v.prefix(p)
		return
	case *time.Duration:
		v.duration(p, f.tag)
		return
	}
	switch f.to.Kind() {
	case reflect.String:
		v.text(f)
	case reflect.Bool:
		if b, ok := v.boolean(); ok {
			f.to.SetBool(b)
		}
	case reflect.Int:
		if n, ok := v.integer(f.tag); ok {
			f.to.SetInt(int64(n))
		}
	case reflect.Slice:
		v.list(f)
	case reflect.Map:
		v.stringMap(f)
	case reflect.Struct:
		v.object(false, f.to.Addr().Interface())
	default:
		panic("config: no reader for " + f.to.Type().String())
	}
}

// items are the elements of a list; where a single value will do, it is a list of one.
func (v value) items() []value {
	if v.n.Kind != yaml.SequenceNode {
		if v.n.Kind == yaml.ScalarNode && v.weak {
			return []value{v}
		}
		v.fail("want a list, got %s", v.got())
		return nil
	}
	list := make([]value, 0, len(v.n.Content))
	for i, n := range v.n.Content {
		item := value{v.d, n, v.path + "[" + strconv.Itoa(i) + "]", v.weak, v.safe, v.deep}
		if item.resolve() {
			list = append(list, item)
		}
	}
	return list
}

func (v value) list(f field) {
	items := v.items()
	list := reflect.MakeSlice(f.to.Type(), 0, len(items))
	for _, item := range items {
		if strings.HasPrefix(item.path, "dns.fallback-filter.") {
			v.d.place(item.path, item.pos())
		}
		e := reflect.New(f.to.Type().Elem()).Elem()
		before := len(v.d.diags)
		item.field(field{e, f.tag})
		if len(v.d.diags) == before || e.Kind() == reflect.Struct && e.Type() != reflect.TypeFor[netip.Prefix]() {
			list = reflect.Append(list, e)
		}
	}
	f.to.Set(list)
}

// named reads a map from names to structs, in file order.
func (v value) named(f field) {
	f.tag = ""
	for _, e := range v.entries() {
		item := reflect.New(f.to.Type().Elem()).Elem()
		item.FieldByName("Name").SetString(e.key.Value)
		if e.val.resolve() {
			e.val.field(field{item, ""})
		}
		f.to.Set(reflect.Append(f.to, item))
	}
}

func (v value) stringMap(f field) {
	m := make(map[string]string)
	for _, e := range v.entries() {
		if !e.val.resolve() {
			continue
		}
		if items := e.val; items.n.Kind == yaml.SequenceNode && len(items.n.Content) == 1 {
			e.val.n = items.n.Content[0]
		}
		if s, ok := e.val.scalar(); ok {
			m[e.key.Value] = s
		}
	}
	f.to.Set(reflect.ValueOf(m))
}

func (v value) scalar() (string, bool) {
	if v.n.Kind != yaml.ScalarNode {
		v.fail("want a text, got %s", v.got())
		return "", false
	}
	return v.n.Value, true
}

// text reads a string: one of some words, or one that passes a check, where the tag says so.
func (v value) text(f field) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	if words := strings.Fields(f.tag.Get("one")); len(words) > 0 && s != "" {
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, s) })
		if i < 0 {
			v.d.report(Error, v.pos(), v.path,
				fmt.Sprintf("want %s, got %s", strings.Join(words, ", "), v.got()), v.d.nearest(s, words))
			return
		}
		s = words[i]
	}
	if check := checks[f.tag.Get("check")]; check != nil && s != "" {
		if want := check(s); want != "" {
			v.fail("want %s, got %s", want, v.got())
			return
		}
	}
	f.to.SetString(s)
}

func (v value) boolean() (b, ok bool) {
	if v.n.Tag == "!!bool" {
		return strings.EqualFold(v.n.Value, "true"), true
	}
	if v.weak {
		switch strings.ToLower(v.n.Value) {
		case "true", "1", "yes", "on":
			return true, true
		case "false", "0", "no", "off", "":
			return false, true
		}
	}
	v.fail("want true or false, got %s", v.got())
	return false, false
}

func (v value) integer(tag reflect.StructTag) (n int, ok bool) {
	n, err := strconv.Atoi(strings.ReplaceAll(v.n.Value, "_", ""))
	if v.n.Kind != yaml.ScalarNode || err != nil && v.n.Tag == "!!str" || v.n.Tag != "!!int" && !v.weak {
		v.fail("want a number, got %s", v.got())
		return 0, false
	}
	if err != nil { // hexadecimal and its like
		wide, err := strconv.ParseInt(v.n.Value, 0, 64)
		if err != nil {
			v.fail("want a whole number, got %s", v.got())
			return 0, false
		}
		n = int(wide)
	}
	if lo, hi, bounded := strings.Cut(tag.Get("range"), "-"); bounded {
		least, _ := strconv.Atoi(lo)
		most, err := strconv.Atoi(hi)
		if n < least || err == nil && n > most {
			wanted := lo + "-" + hi
			if hi == "" {
				wanted = lo + " or more"
			}
			v.fail("want %s, got %d", wanted, n)
			return 0, false
		}
	}
	return n, true
}

func (v value) duration(p *time.Duration, tag reflect.StructTag) {
	unit := time.Second
	if tag.Get("unit") == "ms" {
		unit = time.Millisecond
	}
	if n, ok := v.integer(`range:"0-2147483647"`); ok {
		*p = time.Duration(n) * unit
	}
}

func (v value) prefix(p *netip.Prefix) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	got, err := netip.ParsePrefix(s)
	if err != nil {
		ip, ierr := netip.ParseAddr(s)
		if ierr != nil || ip.Zone() != "" {
			v.fail("want a prefix such as 192.168.0.0/16, got %s", v.got())
			return
		}
		got = netip.PrefixFrom(ip, ip.BitLen())
	}
	*p = got.Masked()
}
