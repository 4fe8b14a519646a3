//go:build linux

package soak

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/exposition"
)

// footprint is what a daemon holds while it has nothing to do.
type footprint struct {
	goroutines  int
	stacks      map[string]int // goroutines by what they do, as pprof groups them
	descriptors map[string]int // by what they are
	heap        int64          // HeapInuse after a collection, in bytes
}

// What may be there beyond the footprint before: a test of a node that is under way, say, and what the heap has
// in pages that are half full.
const (
	spareGoroutines  = 6
	spareDescriptors = 6
	spareHeap        = 3 << 20
)

const (
	settling = 8 * time.Second // for idle connections and workers to end
	settled  = 60 * time.Second
)

// footprint looks at the daemon when all has ended, always with the same configuration. With a footprint from
// before it waits until this one is no larger, for a while.
func (s *soak) footprint(before *footprint) *footprint {
	s.t.Helper()
	http.DefaultClient.CloseIdleConnections()
	text, err := s.file(0, "debug") // the last signal may not have been heard yet
	if err != nil {
		s.t.Fatal(err)
	}
	payload, err := json.Marshal(api.ConfigSource{Payload: text})
	if err != nil {
		s.t.Fatal(err)
	}
	if status, body := s.d.Do(s.t, http.MethodPut, "/configs?force=true", string(payload)); status != http.StatusNoContent {
		s.t.Fatalf("PUT /configs: %d %s", status, body)
	}
	time.Sleep(settling)
	for deadline := time.Now().Add(settled); ; time.Sleep(time.Second) {
		f := s.look()
		if before == nil || f.within(before) || time.Now().After(deadline) {
			return f
		}
	}
}

// look takes a footprint now.
func (s *soak) look() *footprint {
	s.t.Helper()
	for range 2 { // pools keep what they have over one collection
		if status, body := s.d.Do(s.t, http.MethodPut, "/debug/gc", ""); status != http.StatusOK {
			s.t.Fatalf("PUT /debug/gc: %d %s", status, body)
		}
	}
	var vars struct{ Memstats struct{ HeapInuse int64 } }
	if err := json.Unmarshal([]byte(s.page("/debug/vars")), &vars); err != nil {
		s.t.Fatal(err)
	}
	f := &footprint{heap: vars.Memstats.HeapInuse, stacks: make(map[string]int), descriptors: s.descriptors()}
	for part := range strings.SplitSeq(s.page("/debug/pprof/goroutine?debug=1"), "\n\n") {
		// A group is "12 @ 0x1 0x2", and a line "#\t0x1\tname+0x2\tplace" for each call.
		head, frames, _ := strings.Cut(part[strings.IndexByte(part, '\n')+1:], "\n")
		if !strings.HasPrefix(part, "goroutine profile:") {
			head, frames, _ = strings.Cut(part, "\n")
		}
		n, err := strconv.Atoi(strings.Split(head, " ")[0])
		if err != nil {
			continue
		}
		var calls []string
		for line := range strings.SplitSeq(frames, "\n") {
			if field := strings.Split(line, "\t"); len(field) > 2 {
				name, _, _ := strings.Cut(field[2], "+0x")
				calls = append(calls, name)
			}
		}
		f.stacks[strings.Join(calls, " < ")] += n
		f.goroutines += n
	}
	if f.goroutines == 0 {
		s.t.Fatal("no goroutines in the profile")
	}
	return f
}

// page is a page of the API.
func (s *soak) page(path string) string {
	s.t.Helper()
	status, body := s.d.Do(s.t, http.MethodGet, path, "")
	if status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %.200s", path, status, body)
	}
	return body
}

func (s *soak) descriptors() map[string]int {
	s.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", s.d.PID())
	list, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	all := make(map[string]int)
	for _, e := range list {
		to, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			continue // it is closed meanwhile
		}
		kind, _, _ := strings.Cut(to, ":[") // socket:[123]
		all[kind]++
	}
	return all
}

func sum(m map[string]int) (n int) {
	for k := range m {
		n += m[k]
	}
	return n
}

func (f *footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KB heap", f.goroutines, sum(f.descriptors), f.heap>>10)
}

// within says whether f is no larger than before, but for what may be there beyond it.
func (f *footprint) within(before *footprint) bool {
	return f.goroutines <= before.goroutines+spareGoroutines &&
		sum(f.descriptors) <= sum(before.descriptors)+spareDescriptors &&
		f.heap <= before.heap+before.heap/4+spareHeap
}

// compare fails when f is larger, and says where.
func (f *footprint) compare(t *testing.T, before *footprint) {
	t.Helper()
	if f.within(before) {
		return
	}
	t.Errorf("the daemon does not come back to what it was:\n before %v\n after  %v\n%s%s", before, f,
		more("goroutines", f.stacks, before.stacks), more("descriptors", f.descriptors, before.descriptors))
}

// more is what there is more of, most of it first.
func more(what string, after, before map[string]int) (text string) {
	keys := slices.SortedFunc(maps.Keys(after), func(a, b string) int {
		return cmp.Compare(after[b]-before[b], after[a]-before[a])
	})
	for _, k := range keys {
		if n := after[k] - before[k]; n > 0 {
			text += fmt.Sprintf("%+d %s: %s\n", n, what, k)
		}
	}
	return text
}

// keepsChoices wants the choices that nobody has changed, and the last of those that were.
func (s *soak) keepsChoices() {
	s.t.Helper()
	f := func(group, want string) {
		s.t.Helper()
		if body := s.page("/proxies/" + group); !strings.Contains(body, fmt.Sprintf(`"now":%q`, want)) {
			s.t.Errorf("the choice of %s is not %s: %s", group, want, body)
		}
	}
	f("kept", "n2")
	f("pinned", "n1")
	for group, member := range s.chosen {
		f(group, member)
	}
}

// countsNoPanic wants that there was none, and that no flow is left.
func (s *soak) countsNoPanic() {
	s.t.Helper()
	m, err := exposition.Parse(s.page("/metrics"))
	if err != nil {
		s.t.Fatal(err)
	}
	if n := m.Value("switchyard_panics_total"); n != 0 {
		s.t.Errorf("%v panics", n)
	}
	if n := m.Value("switchyard_flows_live"); n != 0 {
		s.t.Errorf("%v flows are left: %.2000s", n, s.page("/connections"))
	}
}

// usual are the warnings that what goes on here brings with it.
var usual = []string{
	`provider \"sub\": `, `provider \"sites\": `, // whose server has bad days
	"proxy 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused", // the node that is dead
}

// isUsual says whether a line is one of usual, or of a dial for a target that no client of ours has.
func isUsual(line string) bool {
	if _, target, isDial := strings.Cut(line, " --> "); isDial && strings.Contains(line, "] dial ") {
		ours := slices.ContainsFunc([]string{"a.", "b.direct.test:", "b.kept.test:", "127.0.0.1:", "n"}, func(name string) bool {
			return strings.HasPrefix(target, name)
		})
		if !ours {
			return true
		}
	}
	return slices.ContainsFunc(usual, func(text string) bool { return strings.Contains(line, text) })
}

// saysNothingBad wants no race, no panic, no error and no warning in the log but the usual ones.
func (s *soak) saysNothingBad() {
	s.t.Helper()
	const most = 20
	bad := 0
	log := s.d.Log()
	if i := strings.Index(log, "WARNING: DATA RACE"); i >= 0 {
		s.t.Errorf("%.4000s", log[i:])
	}
	for line := range strings.SplitSeq(log, "\n") {
		loud := strings.Contains(line, "level=error") || strings.Contains(line, "level=warning") ||
			!strings.HasPrefix(line, "time=") && line != ""
		if !loud || isUsual(line) {
			continue
		}
		if bad++; bad <= most {
			s.t.Errorf("log: %.500s", line)
		}
	}
	if bad > most {
		s.t.Errorf("log: %d more such lines", bad-most)
	}
}
