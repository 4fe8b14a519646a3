package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/ruleset"
)

// millions measures the load of a set of a million names, at first and a second time.
func millions(dir string) error {
	for _, f := range []struct {
		format, goal string
		write        func(w *bufio.Writer, i int)
	}{
		{"text", "≤ 1 s, ≤ 60 MB kept, peak ≤ 150 MB", func(w *bufio.Writer, i int) { fmt.Fprintf(w, "+.site%d.example%d.test\n", i, i%977) }},
		{"yaml", "", func(w *bufio.Writer, i int) {
			if i == 0 {
				fmt.Fprintln(w, "payload:")
			}
			fmt.Fprintf(w, "  - '+.site%d.example%d.test'\n", i, i%977)
		}},
	} {
		path := filepath.Join(dir, "million."+f.format)
		if err := writeLines(path, 1_000_000, f.write); err != nil {
			return err
		}
		first, err := elsewhere("domain", f.format, path)
		if err != nil {
			return err
		}
		row("load 1,000,000 names, "+f.format, f.goal, first.String())
		again, err := elsewhere("domain", f.format, path)
		if err != nil {
			return err
		}
		row("load them a second time, unchanged", "≤ 0.2 s", again.String())
	}
	return nil
}

func writeLines(path string, n int, write func(w *bufio.Writer, i int)) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	for i := range n {
		write(w, i)
	}
	return errors.Join(w.Flush(), file.Close())
}

// realLists measures lists of the family, where they are there.
func realLists(data, dir string) error {
	for _, l := range []struct{ task, format, file string }{
		{"domain", "text", "rulesets/domain/cn.list"},
		{"domain", "mrs", "rulesets/domain/cn.mrs"},
		{"classical", "text", "rulesets/classical/gfw.list"},
		{"ipcidr", "text", "rulesets/ipcidr/cn.list"},
		{"geosite", "cn", "geo/geosite-lite.dat"},
		{"geoip", "cn", "geo/geoip-lite.dat"},
		{"country", "cn", "geo/country-lite.mmdb"},
	} {
		from := filepath.Join(data, filepath.FromSlash(l.file))
		content, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) {
			row(l.file, "", "is not there")
			continue
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.Base(from))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		got, err := elsewhere(l.task, l.format, path)
		if err != nil {
			return err
		}
		row("load "+l.file, "", got.String())
		if l.task == "domain" {
			if got, err = elsewhere(l.task, l.format, path); err != nil {
				return err
			}
			row("load it a second time", "", got.String())
		}
	}
	return nil
}

// load does one load and measures it.
func load(task string, args []string) (l *loaded) {
	l = new(loaded)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l.Idle = resident("VmRSS")
	began := time.Now()
	keep, entries, err := read(task, args[0], args[1])
	l.Took, l.Entries = time.Since(began), entries
	if err != nil {
		l.Error = err.Error()
		return l
	}
	l.Peak = resident("VmHWM")
	debug.FreeOSMemory()
	runtime.ReadMemStats(&after)
	l.Kept = int64(after.HeapAlloc) - int64(before.HeapAlloc)
	runtime.KeepAlive(keep)
	return l
}

func read(task, format, path string) (keep any, entries int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	f, _ := ruleset.ParseFormat(format) // geo data has none
	switch task {
	case "domain":
		d, _, err := ruleset.ReadDomainsCached(data, f, path+".compiled", func(err error) { panic(err) })
		return d, d.Len(), err
	case "ipcidr":
		p, _, err := ruleset.ReadPrefixes(data, f)
		return p, p.Len(), err
	case "geosite":
		s, err := geo.OpenSites(data)
		if err != nil {
			return nil, 0, err
		}
		list, err := s.List(format)
		return list, list.Domains.Len(), err
	case "geoip":
		g, err := geo.OpenIPs(data)
		if err != nil {
			return nil, 0, err
		}
		set, err := g.Prefixes(format)
		return set, set.Prefixes.Len(), err
	case "country":
		db, err := geo.OpenDB(data)
		if err != nil {
			return nil, 0, err
		}
		sets, err := db.Countries([]string{format})
		return sets, sets[format].Len(), err
	}
	var rules []rule.Rule
	err = ruleset.Lines(data, f, func(_ int, text []byte) error {
		r, err := rule.ParseCondition(string(text))
		rules = append(rules, r)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	p := rule.CompileSet(rules, nil, func(_ int, bad error) { err = bad })
	if err != nil {
		return nil, 0, err
	}
	return p, p.Len(), nil
}

// resident reads a size of this process's memory, in bytes; 0 where the system does not tell.
func resident(key string) int64 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}
