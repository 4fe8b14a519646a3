// Package arch keeps the walls: which package may import which. The table is that of
// docs/architecture.md; change both together.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/switchyard-proxy/switchyard/"

// allowed lists, for each package, those of ours it may import. A name that ends in /* stands for
// the packages below it, and a package below one that is listed has its line.
var allowed = map[string]string{
	"gen":                  "gen/*",
	"relay/flow":           "",
	"relay/buf":            "",
	"relay/match":          "",
	"relay/filter":         "",
	"relay/sharelink":      "",
	"relay/config":         "relay/flow relay/match relay/rule relay/filter relay/sharelink relay/minisign relay/dns/nameserver relay/dns/hosts",
	"relay/subscription":   "relay/config relay/outbound",
	"relay/fetch":          "",
	"relay/minisign":       "",
	"relay/upgrade":        "relay/minisign",
	"relay/handover":       "relay/sysnet",
	"relay/provider":       "relay/fetch",
	"relay/state":          "",
	"relay/webui":          "",
	"relay/logs":           "",
	"relay/sysnet":         "",
	"relay/geo":            "relay/match",
	"relay/rule":           "relay/flow relay/match",
	"relay/ruleset":        "relay/flow relay/match",
	"relay/process":        "relay/flow",
	"relay/track":          "relay/flow",
	"relay/pump":           "relay/flow relay/buf relay/sysnet",
	"relay/nat":            "relay/flow relay/buf relay/sysnet",
	"relay/transport":      "relay/flow relay/buf",
	"relay/protocol/http1": "",
	"relay/protocol/socks": "relay/flow relay/buf",
	"relay/dns/wire":       "",
	"relay/dns/nameserver": "relay/flow",
	"relay/dns/hosts":      "relay/flow relay/match",
	"relay/dns/fakeip":     "",
	"relay/dns/cache":      "relay/dns/wire",
	"relay/dns/upstream":   "relay/flow relay/dns/wire relay/dns/nameserver",
	"relay/dns":            "relay/flow relay/match relay/sysnet relay/dns/*",
	"relay/inbound":        "relay/flow relay/buf relay/sysnet relay/transport relay/protocol/*",
	"relay/outbound":       "relay/flow relay/sysnet",
	"relay/outbound/http":  "relay/flow relay/buf relay/sysnet relay/transport relay/protocol/* relay/outbound",
	"relay/outbound/socks": "relay/flow relay/buf relay/sysnet relay/transport relay/protocol/* relay/outbound",
	"relay/outbound/dns":   "relay/flow relay/outbound",
	"relay/health":         "relay/flow relay/outbound",
	"relay/group":          "relay/flow relay/outbound",
	"relay/engine":         "relay/flow relay/buf relay/sysnet relay/rule relay/outbound relay/group relay/track relay/pump relay/nat",
	"relay/vitals":         "relay/dns relay/engine relay/health",
	"relay":                "relay/*",
	"impl":                 "gen/* relay/flow relay/rule relay/ruleset relay/engine relay/group relay/health relay/outbound relay/track relay/logs relay/config relay/subscription relay/sysnet relay/state relay/dns relay/dns/wire relay/webui relay/vitals",
	"cmd/switchyard":       "relay relay/config relay/fetch relay/logs relay/ruleset relay/state relay/handover relay/minisign relay/sysnet relay/upgrade impl gen/*",
}

// line is the entry for a package: its own, or that of the nearest package above it.
func line(pkg string) (string, bool) {
	for {
		if l, ok := allowed[pkg]; ok {
			return l, true
		}
		i := strings.LastIndexByte(pkg, '/')
		if i < 0 || pkg[:i] == "relay" {
			return "", false
		}
		pkg = pkg[:i]
	}
}

func may(pkg, imported string) bool {
	l, _ := line(pkg)
	return slices.ContainsFunc(strings.Fields(l), func(a string) bool {
		dir, below := strings.CutSuffix(a, "*")
		return a == imported || below && strings.HasPrefix(imported, dir)
	})
}

func TestImports(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := make(map[string]bool)
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "tests" || path != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if _, ok := line(pkg); !ok {
			t.Errorf("%s: the table has no line for this package", pkg)
		}
		seen[pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if ours, ok := strings.CutPrefix(name, module); ok && !may(pkg, ours) {
				t.Errorf("%s imports %s, which the table does not allow", path, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("%s: the table has a line, and there is no such package", pkg)
		}
	}
}

// TestNoBorrowedName keeps the reference's name out of ours.
func TestNoBorrowedName(t *testing.T) {
	root := filepath.Join("..", "..")
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != "." && strings.HasPrefix(d.Name(), ".") && d.IsDir() {
			return fs.SkipDir
		}
		if strings.Contains(strings.ToLower(d.Name()), "mih"+"omo") {
			t.Errorf("%s: the name belongs to others", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
