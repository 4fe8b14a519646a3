package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/switchyard-proxy/switchyard/relay/filter"
	"github.com/switchyard-proxy/switchyard/relay/sharelink"
)

// What a list may have. It comes from elsewhere, and its reader must not pay more than its size.
const (
	maxNodes        = 10_000
	maxListSize     = 32 << 20  // bytes of YAML
	maxListParts    = 1_000_000 // signs that part one thing from the next in YAML
	maxNodeText     = 256       // bytes of a server, and of other names in a node
	maxNodeProblems = 100       // that are kept
	maxWrong        = 5         // things that are told of one node
	nodeVisits      = 300       // values that are read for each node, those that aliases bring included
	minVisits       = 100_000   // and beside these
	nodeMerges      = 100       // keys that merge keys bring to each node
	minMerges       = 10_000    // and beside these
)

// NodeList is what a list of nodes holds.
type NodeList struct {
	Nodes    []Proxy
	Problems []NodeProblem // the first that cannot be used, in the order of the list; then those not built, by type
	Count    int           // of nodes that Problems are about, those that are not kept there included

	unbuilt []unbuilt
}

// unbuilt are the nodes of a type that cannot be dialed yet.
type unbuilt struct {
	kind  string
	first NodeProblem
	count int
}

// NodeProblem is a node that cannot be used, or that will carry nothing.
type NodeProblem struct {
	Index  int // in the list, from 0
	Line   int // 0 where that is not known
	Column int
	Name   string
	Text   string // what is wrong; it holds no secret
}

// String tells of it as one line.
func (p NodeProblem) String() string {
	where := fmt.Sprintf("node %d", p.Index)
	if p.Line > 0 {
		where = fmt.Sprintf("line %d", p.Line)
	}
	if p.Name != "" {
		where += fmt.Sprintf(", %q", p.Name)
	}
	return where + ": " + p.Text
}

// Add notes one more problem.
func (l *NodeList) Add(p NodeProblem) {
	l.Count++
	if len(l.Problems) < maxNodeProblems {
		l.Problems = append(l.Problems, p)
	}
}

// later notes a node of a type that cannot be dialed yet.
func (l *NodeList) later(kind string, p NodeProblem) {
	l.Count++
	for i := range l.unbuilt {
		if u := &l.unbuilt[i]; u.kind == kind {
			u.count++
			return
		}
	}
	l.unbuilt = append(l.unbuilt, unbuilt{kind, p, 1})
}

// finish puts the problems in order.
func (l *NodeList) finish() {
	l.sort()
	for _, u := range l.unbuilt {
		p := u.first
		p.Text = u.kind + ": not supported yet: the node is listed and carries nothing"
		if u.count > 1 {
			p.Text = fmt.Sprintf("%s: not supported yet: this and %d more are listed and carry nothing", u.kind, u.count-1)
		}
		l.Problems = append(l.Problems, p)
	}
	l.unbuilt = nil
}

func (l *NodeList) sort() {
	slices.SortStableFunc(l.Problems, func(a, b NodeProblem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Index, b.Index))
	})
}

// What makes a list one of no use.
var (
	errNoNodes   = errors.New("the list has no nodes")
	errNoMatch   = errors.New("no node is left: see filter, exclude-filter and exclude-type")
	errNoProxies = errors.New("want `proxies`, a list of nodes, or share links")
	errHTML      = errors.New("this is a web page, not a list of nodes")
	errParts     = fmt.Errorf("a list of more than %d parts", maxListParts)
)

// ReadNodes reads a list of nodes as others write it: YAML with proxies, share links, or the base64 of
// these. Nodes that cannot be used are left out and told of; a list without one that can be is an error.
func (p *ProxyProvider) ReadNodes(body []byte) (*NodeList, error) {
	if isHTML(body) {
		return nil, errHTML
	}
	items, bad, err := listed(body)
	if err != nil {
		return nil, err
	}
	list, err := p.read(items)
	if list != nil {
		for _, b := range bad {
			if more, ok := errors.AsType[sharelink.Left](b.Err); ok {
				list.Count += int(more)
				continue
			}
			list.Add(NodeProblem{Line: b.Line, Name: b.Name, Text: b.Err.Error()})
		}
		list.finish()
	}
	if errors.Is(err, errNoNodes) && len(bad) > 0 {
		err = fmt.Errorf("no node can be used: %w", linkError(bad[0]))
	}
	return list, err
}

func linkError(p sharelink.Problem) error { return fmt.Errorf("line %d: %w", p.Line, p.Err) }

// isHTML says whether a body is a page that somebody was meant to read.
func isHTML(body []byte) bool {
	start := bytes.ToLower(bytes.TrimSpace(body[:min(len(body), 512)]))
	start = bytes.TrimPrefix(start, []byte("\xef\xbb\xbf"))
	return bytes.HasPrefix(start, []byte("<!doctype")) || bytes.HasPrefix(start, []byte("<html"))
}

// listed are the nodes of a body as YAML has them.
func listed(body []byte) (items []*yaml.Node, bad []sharelink.Problem, err error) {
	items, err = yamlNodes(body)
	if items != nil {
		return items, nil, nil
	}
	if links, bad, lerr := sharelink.Parse(body); lerr == nil {
		return linkNodes(links), bad, nil
	}
	return nil, nil, err
}

// yamlNodes are the nodes of a YAML document with proxies; nil with an error where it is none.
func yamlNodes(body []byte) ([]*yaml.Node, error) {
	if !bytes.Contains(body, []byte("proxies")) { // which saves reading a list of links as YAML
		return nil, errNoProxies
	}
	if len(body) > maxListSize {
		return nil, fmt.Errorf("larger than %d MiB", maxListSize>>20)
	}
	parts := 0
	for _, c := range body {
		switch c {
		case ',', ':', '?', '\n', '\r', '[', '{', '-':
			parts++
		}
	}
	if parts > maxListParts { // each takes a hundred times its room when it is read
		return nil, errParts
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("neither YAML nor share links: %s", yamlReason(err))
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errNoProxies
	}
	for _, e := range (value{d: new(decoder), n: doc.Content[0]}).entries() {
		if e.key.Value != "proxies" || !e.val.resolve() {
			continue
		}
		switch {
		case e.val.isNull():
			return []*yaml.Node{}, nil
		case e.val.n.Kind != yaml.SequenceNode:
			return nil, fmt.Errorf("line %d: `proxies` is no list", e.val.n.Line)
		}
		return append([]*yaml.Node{}, e.val.n.Content...), nil
	}
	return nil, errNoProxies
}

// yamlReason is what the YAML parser says, without what it quotes of the text, which may be secret.
func yamlReason(err error) string {
	text := err.Error()
	if i := strings.IndexAny(text, "`'\"\u201c"); i >= 0 {
		text = text[:i]
	}
	return strings.TrimSpace(strings.TrimPrefix(text, "yaml: "))
}

// linkNodes are share links as a configuration would write them.
func linkNodes(links []sharelink.Node) []*yaml.Node {
	items := make([]*yaml.Node, len(links))
	for i, l := range links {
		items[i] = written(l.Keys, l.Line)
	}
	return items
}

// written is a value of a share link as YAML.
func written(v any, line int) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Line: line, Column: 1}
	switch v := v.(type) {
	case string:
		n.Value = v
	case int:
		n.Tag, n.Value = "!!int", strconv.Itoa(v)
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case []string:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		for _, s := range v {
			n.Content = append(n.Content, written(s, line))
		}
	case map[string]any:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, written(k, line), written(v[k], line))
		}
	case map[string]string:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, written(k, line), written(v[k], line))
		}
	default:
		n.Tag = "!!null"
	}
	return n
}

// rawNode is a node before it is read.
type rawNode struct {
	at         value
	index      int
	name, kind string
}

// read reads nodes: filtered, changed, judged.
func (p *ProxyProvider) read(items []*yaml.Node) (*NodeList, error) {
	if len(items) > maxNodes {
		return nil, fmt.Errorf("more than %d nodes", maxNodes)
	}
	budget := func() *decoder { // so that aliases and merge keys cannot multiply
		return &decoder{
			merges: max(0, maxMerges-minMerges-len(items)*nodeMerges),
			visits: max(0, maxVisits-minVisits-len(items)*nodeVisits),
		}
	}
	list := new(NodeList)
	raw := p.raw(items, budget(), list)
	if len(raw) == 0 {
		return list, list.none(errNoNodes)
	}
	f, err := filter.New(string(p.Filter), string(p.ExcludeFilter), p.ExcludeType)
	if err != nil {
		return nil, err
	}
	slow := ""
	f.Slow = func(err error) {
		slow = "filter: " + err.Error()
		list.Add(NodeProblem{Text: slow})
	}
	chosen := filter.Apply(f, raw, func(r rawNode) (name, kind string) { return r.name, r.kind })
	if len(chosen) == 0 {
		if slow != "" {
			return list, fmt.Errorf("%w: %s", errNoMatch, slow)
		}
		return list, errNoMatch
	}
	renames, d := p.renames(), budget()
	first := make(map[string]int, len(chosen))
	for _, r := range chosen {
		if r.name = p.rename(r.name, renames); r.name == "" {
			list.Add(r.problem("proxy-name leaves nothing of its name"))
			continue
		}
		if at, dup := first[r.name]; dup {
			list.Add(r.problem(fmt.Sprintf("the name is that of node %d already", at)))
			continue
		}
		if slices.Contains(builtIn, r.name) {
			list.Add(r.problem("the name is built in"))
			continue
		}
		r.at.d = d
		if node, ok := p.node(r, list); ok {
			first[r.name] = r.index
			list.Nodes = append(list.Nodes, node)
		}
	}
	for i, r := range renames {
		if r.GaveUp() {
			list.Add(NodeProblem{Text: fmt.Sprintf("proxy-name: pattern %d takes too long: some names are as they were", i+1)})
		}
	}
	if len(list.Nodes) == 0 {
		return list, list.none(errNoNodes)
	}
	return list, nil
}

// none is why a list has no node that can be used.
func (l *NodeList) none(otherwise error) error {
	if len(l.Problems) == 0 {
		return otherwise
	}
	l.sort()
	return fmt.Errorf("no node can be used: %s", l.Problems[0])
}

// raw finds the names and types that filters look at. What has none is told of.
func (p *ProxyProvider) raw(items []*yaml.Node, d *decoder, list *NodeList) []rawNode {
	raw := make([]rawNode, 0, len(items))
	for i, n := range items {
		r := rawNode{at: value{d: d, n: n, weak: true}, index: i}
		if !r.at.resolve() || r.at.n.Kind != yaml.MappingNode {
			list.Add(r.problem("want a map"))
			continue
		}
		d.diags = d.diags[:0] // keys that are there twice are told of when the node is read
		for _, e := range r.at.entries() {
			if !e.val.resolve() || e.val.n.Kind != yaml.ScalarNode || e.val.isNull() {
				continue
			}
			switch e.key.Value {
			case "name":
				r.name = e.val.n.Value
			case "type":
				r.kind = e.val.n.Value
			}
		}
		r.name = sharelink.CleanName(r.name)
		switch {
		case d.merges > maxMerges || d.visits > maxVisits:
			list.Add(r.problem("merge keys or aliases bring too much"))
		case r.name == "":
			list.Add(r.problem("want a name"))
		case r.kind == "":
			list.Add(r.problem("want a type"))
		default:
			raw = append(raw, r)
		}
	}
	return raw
}

func (r *rawNode) problem(text string) NodeProblem {
	return NodeProblem{Index: r.index, Line: r.at.n.Line, Column: r.at.n.Column, Name: r.name, Text: text}
}

func (p *ProxyProvider) renames() []*filter.Rename {
	list := make([]*filter.Rename, 0, len(p.Override.Rename))
	for _, r := range p.Override.Rename {
		if one, err := filter.NewRename(r.Pattern, r.Target); err == nil { // else decode has said so
			list = append(list, one)
		}
	}
	return list
}

func (p *ProxyProvider) rename(name string, renames []*filter.Rename) string {
	name = p.Override.Prefix + name + p.Override.Suffix
	for _, r := range renames {
		name = r.Apply(name)
	}
	return sharelink.CleanName(name)
}

// node reads a node with what the provider sets.
func (p *ProxyProvider) node(r rawNode, list *NodeList) (node Proxy, ok bool) {
	d := r.at.d
	d.diags, d.dropped, d.hints = d.diags[:0], 0, maxHints // which would name other nodes' words
	v := r.at
	v.n = p.overridden(r)
	node.decode(v)
	var wrong []string
	for _, diag := range d.diags {
		if diag.Severity == Error {
			text := diag.Message
			if diag.Path != "" {
				text = diag.Path + ": " + text
			}
			wrong = append(wrong, text)
		}
	}
	switch {
	case wrong == nil && max(len(node.Server), len(node.DialerProxy), len(node.InterfaceName)) > maxNodeText:
		list.Add(r.problem(fmt.Sprintf("server, dialer-proxy and interface-name have %d bytes at the most", maxNodeText)))
		return node, false
	case wrong != nil:
		wrong = slices.Compact(wrong)
		wrong = wrong[:min(len(wrong), maxWrong)]
		list.Add(r.problem(strings.Join(wrong, "; ")))
		return node, false
	case node.Unbuilt():
		list.later(node.Type, r.problem(""))
	}
	return node, true
}

// overridden is the map of a node as it is read: with its name, and what the provider sets.
func (p *ProxyProvider) overridden(r rawNode) *yaml.Node {
	set := []Setting{{"name", "!!str", r.name}}
	if p.DialerProxy != "" {
		set = append(set, Setting{"dialer-proxy", "!!str", p.DialerProxy})
	}
	set = append(set, p.Override.Set...)
	n := *r.at.n
	n.Content = slices.Clone(n.Content)
	for _, s := range set {
		val := &yaml.Node{Kind: yaml.ScalarNode, Tag: s.Tag, Value: s.Value, Line: n.Line, Column: n.Column}
		at := -1
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == s.Key {
				at = i
			}
		}
		if at >= 0 {
			n.Content[at+1] = val
			continue
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.Key, Line: n.Line, Column: n.Column}
		n.Content = append(n.Content, key, val)
	}
	return &n
}
