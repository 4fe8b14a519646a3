// Command figures measures what rules cost by themselves: how long a match takes behind few rules and
// behind many, and what time and memory it takes to load a set; and what fake addresses cost.
//
//	go run ./tests/bench/figures [-data DIR]
//
// DIR has real lists in geo/ and rulesets/; they are measured where they are there. Each load is made
// in a process of its own, on one core, so that its memory can be told.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func main() {
	data := flag.String("data", filepath.Join("..", "shared", "data"), "where real lists are")
	task := flag.String("load", "", "used by figures itself: what to load")
	flag.Parse()
	var err error
	if *task != "" {
		err = json.NewEncoder(os.Stdout).Encode(load(*task, flag.Args()))
	} else {
		err = run(*data)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// run measures everything and prints it as it comes.
func run(data string) error {
	dir, err := os.MkdirTemp("", "figures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("| what | goal | measured |\n|---|---|---|")
	matches()
	sets()
	if err := leases(); err != nil {
		return err
	}
	if err := millions(dir); err != nil {
		return err
	}
	return realLists(data, dir)
}

func row(what, goal, measured string) { fmt.Printf("| %s | %s | %s |\n", what, goal, measured) }

// bench is the time and the allocations of one call of f.
func bench(f func(i int)) string {
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f(i)
		}
	})
	return fmt.Sprintf("%d ns, %d allocs", r.NsPerOp(), r.AllocsPerOp())
}

// loaded is what a load took.
type loaded struct {
	Entries    int
	Took       time.Duration
	Kept, Peak int64 // bytes: of the heap afterwards, and of resident memory at its highest
	Idle       int64 // bytes of resident memory before
	Error      string
}

func (l *loaded) String() string {
	return fmt.Sprintf("%d entries, %.2f s, %.0f MB kept, %.0f MB more at the peak",
		l.Entries, l.Took.Seconds(), float64(l.Kept)/1e6, float64(l.Peak-l.Idle)/1e6)
}

// elsewhere loads in a process of its own.
func elsewhere(task string, args ...string) (*loaded, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{"-load", task}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", task, err)
	}
	l := new(loaded)
	if err := json.Unmarshal(out, l); err != nil {
		return nil, err
	}
	if l.Error != "" {
		return nil, fmt.Errorf("load %s: %s", task, l.Error)
	}
	return l, nil
}
