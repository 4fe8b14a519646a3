//go:build linux

// Command bench measures Switchyard beside Debian's haproxy, squid, microsocks, unbound and dnsmasq,
// those of them that are installed. Everything runs on loopback: an origin process, one proxy or name
// server at a time, and a load process for each measurement. They take turns round by round, so that a
// noisy machine is noisy to all of them, and what is compared first is the CPU time of their own
// processes per unit of work, which is steadier than any rate.
//
//	go run ./tests/bench -binary ./switchyard [-quick] [-rules] [-only bulk,connect] [-json FILE]
//
// With -rules there is one peer, ours, behind a million rules and behind ten.
//
// A new row is one function in a file of its own, row_*.go, and a line in rows (rows.go); a new
// peer is one function in peers.go or peers_dns.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	binary := flag.String("binary", "./switchyard", "the Switchyard to measure")
	quick := flag.Bool("quick", false, "two short rounds: under two minutes")
	behind := flag.Bool("rules", false, "compare ours behind many rules and behind ten")
	only := flag.String("only", "", "comma-separated groups of rows, of: "+
		strings.Join(groups(rows(plan{})), ", "))
	out := flag.String("json", "", "write the samples to this file (default tests/bench/out/TIME.json)")
	role := flag.String("role", "", "used by bench itself: origin or load")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch *role {
	case "":
		err = run(ctx, *binary, *out, *only, *quick, *behind)
	case "origin":
		err = originMain()
	case "load":
		err = loadMain()
	default:
		err = fmt.Errorf("unknown role %q", *role)
	}
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// plan is how long a run takes: every measurement starts work for window, in each of rounds.
type plan struct {
	Rounds int           `json:"rounds"`
	Window time.Duration `json:"window_ns"`
	Limit  time.Duration `json:"limit_ns"` // of the whole run
	Quick  bool          `json:"quick,omitempty"`
	Rules  bool          `json:"rules,omitempty"` // ours behind many rules and few, and no other peer
}

func newPlan(quick bool) plan {
	if quick {
		return plan{Rounds: 2, Window: 700 * time.Millisecond, Limit: 135 * time.Second, Quick: true}
	}
	return plan{Rounds: 3, Window: 2 * time.Second, Limit: 500 * time.Second}
}

// run measures, prints the table and writes the samples. What was measured before an interrupt
// or the time limit is printed too.
func run(ctx context.Context, binary, out, only string, quick, behind bool) error {
	p := newPlan(quick)
	p.Rules = behind
	chosen, err := choose(rows(p), only)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.Limit)
	defer cancel()
	raiseDescriptorLimit()

	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // squid reads it as a user of its own
		return err
	}
	all := peers(binary)
	if behind {
		all = behindRules(binary, quick)
	}
	here, missing, err := installed(all)
	if err != nil {
		return err
	}
	for _, name := range missing {
		fmt.Fprintf(os.Stderr, "%s is not installed: its column stays empty\n", name)
	}
	o, err := startOrigin(ctx)
	if err != nil {
		return err
	}
	defer o.stop()

	b := &bench{dir: dir, origin: o.addrs, plan: p, rows: chosen, peers: here}
	cut := b.measureAll(ctx)
	r := b.report(missing)
	r.print(os.Stdout)
	if out == "" {
		out = filepath.Join("tests", "bench", "out", time.Now().Format("20060102-150405")+".json")
	}
	return errors.Join(cut, r.write(out), r.failure())
}

// raiseDescriptorLimit lets our children have as many descriptors as the hard limit permits, up
// to what the idle rows can use. Go raises the limit for itself only.
func raiseDescriptorLimit() {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return
	}
	l.Cur = min(l.Max, 32768)
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // idleTunnels asks again what it became
}
