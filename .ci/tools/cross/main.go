// Command cross type-checks the module in the current directory for other systems, without
// its tests, and compiles nothing: it takes seconds where a build takes a minute. Of dependencies it
// reads all but the insides of functions.
//
//	cross linux/arm windows/amd64
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"time"

	"golang.org/x/tools/go/packages"
)

func main() {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cross:", err)
		os.Exit(1)
	}
	wrong := false
	for _, target := range os.Args[1:] {
		start := time.Now()
		list, err := check(dir, target)
		for _, e := range list {
			fmt.Fprintf(os.Stderr, "cross: %s: %v\n", target, e)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "cross: %s: %v\n", target, err)
		}
		wrong = wrong || err != nil || len(list) > 0
		fmt.Printf("check %s (%.1fs)\n", target, time.Since(start).Seconds())
	}
	if wrong {
		os.Exit(1)
	}
}

// check returns what is wrong with the packages of the module in dir, and with what they import.
func check(dir, target string) (wrong []packages.Error, err error) {
	system, machine, ok := strings.Cut(target, "/")
	if !ok {
		return nil, errors.New("want a target such as linux/arm64")
	}
	list, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedModule | packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax,
		Dir: dir,
		Env: append(os.Environ(), "GOOS="+system, "GOARCH="+machine, "CGO_ENABLED=0"),
		ParseFile: func(set *token.FileSet, name string, src []byte) (*ast.File, error) {
			f, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
			if f != nil && !strings.HasPrefix(name, dir+string(os.PathSeparator)) {
				for _, d := range f.Decls {
					if fn, ok := d.(*ast.FuncDecl); ok && fn.Type.TypeParams == nil {
						fn.Body = nil
					}
				}
			}
			return f, err
		},
	}, "./...")
	if err != nil {
		return nil, err
	}
	packages.Visit(list, nil, func(p *packages.Package) {
		ours := p.Module != nil && p.Module.Main
		for _, e := range p.Errors {
			if ours || e.Kind == packages.ListError {
				wrong = append(wrong, e)
			}
		}
	})
	return wrong, nil
}
