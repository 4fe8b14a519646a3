package compat

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is one recorded exchange.
type sample struct {
	name    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage // a string is the text itself, null is none
		Transport    string
	}
	Response struct {
		Status   int // 0 where the connection was closed without an answer
		Headers  map[string]string
		Body     any
		Messages []struct{ Text string }
	}
	Note string
}

// readSamples returns the text of every sample by its name.
func readSamples(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples in %s: %v", dir, err)
	}
	all := make(map[string]string, len(files))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = string(b)
	}
	return all
}

func parseSample(t *testing.T, name, text string) *sample {
	t.Helper()
	s := &sample{name: name}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// body is the body of the request as it was sent.
func (s *sample) body() string {
	var text string
	switch raw := string(s.Request.Body); {
	case raw == "null":
		return ""
	case json.Unmarshal(s.Request.Body, &text) == nil:
		return text
	default:
		return raw
	}
}

// remote is what the provider's server served when the sample was recorded, if that was not its file.
func (s *sample) remote() (body string, ok bool) {
	quoted, ok := strings.CutPrefix(s.Note, "remote content: ")
	return body, ok && json.Unmarshal([]byte(quoted), &body) == nil
}

// answer is what the daemon says.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends the request byte by byte as it was recorded.
func (s *sample) send(h *home) (*answer, error) {
	network, addr := "tcp", strings.TrimPrefix(h.BaseURL, "http://")
	host := addr
	if s.Request.Transport != "" {
		network, addr = "unix", filepath.Join(h.Home, "ctl.sock")
	}
	c, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", s.Request.Method, s.Request.Path, host)
	for _, k := range slices.Sorted(maps.Keys(s.Request.Headers)) {
		fmt.Fprintf(&b, "%s: %s\r\n", k, s.Request.Headers[k])
	}
	if body := s.body(); body != "" || s.Request.Method != "GET" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	} else {
		b.WriteString("\r\n")
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: s.Request.Method})
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	return &answer{res.StatusCode, res.Header, string(body)}, err
}

// headers are those that are compared, besides Content-Type.
var headers = []string{
	"Vary", "Allow", "Location", "Content-Disposition", "X-Content-Type-Options",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
	"Access-Control-Allow-Private-Network", "Access-Control-Allow-Credentials", "Access-Control-Max-Age",
}

// compare returns how a differs from what was recorded, each as "where: what, not what".
func (s *sample) compare(a *answer) (differences []string) {
	differ := func(where, format string, args ...any) {
		differences = append(differences, where+": "+fmt.Sprintf(format, args...))
	}
	if a.status != s.Response.Status {
		differ("status", "%d, not %d: %s", a.status, s.Response.Status, a.body)
		return differences
	}
	for _, k := range append([]string{"Content-Type"}, headers...) {
		got, want := listed(a.header.Get(k)), listed(s.Response.Headers[k])
		if got != want {
			differ(k, "%q, not %q", got, want)
		}
	}
	var got any = a.body
	switch want, isText := s.Response.Body.(string); {
	case a.header.Get("Content-Type") == "application/dns-message":
		got = string([]rune(a.body)) // it was recorded as if it were text
	case isText && want == "<binary gzip pprof>":
		if !strings.HasPrefix(a.body, "\x1f\x8b") {
			differ("body", "%.40q, not gzip", a.body)
		}
		return differences
	case isText:
	case json.Unmarshal([]byte(a.body), &got) != nil:
		differ("body", "%.40q, not JSON", a.body)
		return differences
	case !strings.HasSuffix(a.body, "\n"):
		differ("body", "no newline at its end")
	}
	if strings.HasPrefix(s.Request.Path, "/group/") && strings.Contains(s.Request.Path, "/delay?") {
		compareJSON("body", working(s.Response.Body), working(got), differ)
		return differences
	}
	compareJSON("body", s.Response.Body, got, differ)
	return differences
}

// working are the names in an answer of delays, where each is more than 0; any other answer is as it is.
func working(body any) any {
	m, _ := body.(map[string]any)
	names := make(map[string]any, len(m))
	for k, v := range m {
		if delay, ok := v.(float64); ok {
			v = delay > 0
		}
		names[k] = v
	}
	return names
}

// listed sorts the elements of a field.
func listed(field string) string {
	if !strings.Contains(field, ", ") {
		return field
	}
	list := strings.Split(field, ", ")
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// volatile are members whose values depend on what happened before or on when; their types do not.
var volatile = regexp.MustCompile(`\.(id|start|time|delay|alive|memory|inuse|up|down|upload|download|` +
	`downloadTotal|uploadTotal|version|sourcePort|remoteDestination)$|^frame\.(payload|message)$`)

// never is the time of what has not happened. Any other time is as good as another.
const never = "0001-01-01T00:00:00Z"

// state are members that hold only what happened before: delay tests.
var state = regexp.MustCompile(`\.(history|extra)$`)

// abridged marks an object of which only some was recorded.
const abridged = "<abridged>"

// named says whether got is the node of which want is what was recorded: no more than its name, or its name and
// type.
func named(want, got any) bool {
	node, ok := got.(map[string]any)
	switch want := want.(type) {
	case string:
		return ok && node["name"] == want
	case []any:
		return ok && len(want) == 2 && node["name"] == want[0] && node["type"] == want[1]
	}
	return false
}

func compareJSON(at string, want, got any, differ func(where, format string, args ...any)) {
	if named(want, got) {
		return
	}
	if kind(want) != kind(got) {
		differ(at, "%s, not %s", kind(got), kind(want))
		return
	}
	switch want := want.(type) {
	case map[string]any:
		if !state.MatchString(at) {
			compareObject(at, want, got.(map[string]any), differ)
		}
	case []any:
		if !state.MatchString(at) {
			compareArray(at, want, got.([]any), differ)
		}
	default:
		if strings.HasSuffix(at, ".updatedAt") {
			want, got = want == never, got == never
		}
		if strings.HasSuffix(at, ".TTL") { // it counts down
			want, got = true, math.Abs(got.(float64)-want.(float64)) <= 10
		}
		if !volatile.MatchString(at) && want != got {
			differ(at, "%#v, not %#v", got, want)
		}
	}
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	}
	return fmt.Sprintf("%T", v)
}

func compareObject(at string, want, got map[string]any, differ func(where, format string, args ...any)) {
	part, isPart := want[abridged]
	keys, ok := part.([]any)
	if ok && len(want) == 2 && want["providers"] != nil { // what is abridged is the map of them
		compareJSON(at+".providers", map[string]any{abridged: keys}, got["providers"], differ)
		for name, one := range want["providers"].(map[string]any) { // and of each the first node
			one := maps.Clone(one.(map[string]any))
			one[abridged] = true
			compareJSON(at+".providers."+name, one, got["providers"].(map[string]any)[name], differ)
		}
		return
	}
	if ok { // its keys alone were recorded, the first of them
		for _, k := range keys {
			if _, ok := got[k.(string)]; !ok {
				differ(at+"."+k.(string), "missing")
			}
		}
		return
	}
	for k, w := range want {
		g, ok := got[k]
		switch {
		case k == abridged:
		case !ok:
			differ(at+"."+k, "missing")
		case isPart && kind(w) == "array" && kind(g) == "array":
			compareArray(at+"."+k, w.([]any), sameNames(w.([]any), g.([]any)), differ)
		default:
			compareJSON(at+"."+k, w, g, differ)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok && !isPart && at != "body.proxies" { // of the nodes a choice was recorded
			differ(at+"."+k, "added")
		}
	}
}

// sameNames picks of got what want names, in the order of want.
func sameNames(want, got []any) (list []any) {
	name := func(v any) any { m, _ := v.(map[string]any); return m["name"] }
	for _, w := range want {
		if i := slices.IndexFunc(got, func(g any) bool { return name(g) == name(w) }); i >= 0 {
			list = append(list, got[i])
		}
	}
	return list
}

func compareArray(at string, want, got []any, differ func(where, format string, args ...any)) {
	if n := len(want); n > 0 && want[n-1] == abridged {
		want = want[:n-1]
		got = got[:min(len(want), len(got))]
	}
	if len(want) != len(got) {
		differ(at, "%d elements, not %d", len(got), len(want))
	}
	for i := range min(len(want), len(got)) {
		compareJSON(fmt.Sprintf("%s[%d]", at, i), want[i], got[i], differ)
	}
}
