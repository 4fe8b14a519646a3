//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a run has found: the file is its JSON, and print its table.
type report struct {
	Time    time.Time         `json:"time"`
	Kernel  string            `json:"kernel"`
	CPUs    int               `json:"cpus"`
	Go      string            `json:"go"`
	Plan    plan              `json:"plan"`
	Peers   map[string]string `json:"peers"` // their versions
	Missing []string          `json:"missing,omitempty"`
	Samples []sample          `json:"samples"`

	rows  []row
	peers []peer
}

func (b *bench) report(missing []string) *report {
	r := &report{
		Time:    time.Now(),
		CPUs:    runtime.NumCPU(),
		Go:      runtime.Version(),
		Plan:    b.plan,
		Peers:   map[string]string{},
		Missing: missing,
		Samples: b.samples,
		rows:    b.rows,
		peers:   b.peers,
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	for _, p := range b.peers {
		r.Peers[p.Name] = p.version()
	}
	return r
}

// print writes the table as Markdown.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d CPUs, Linux %s, %s, loopback; medians of %d rounds of %v.\n",
		r.CPUs, r.Kernel, r.Go, r.Plan.Rounds, r.Plan.Window)
	fmt.Fprintf(w, "(×n) is Switchyard's figure divided by that peer's, the median of the rounds;\n"+
		"bold where Switchyard is at least as good.\n\n")
	fmt.Fprint(w, "| work | unit | better |")
	for _, p := range r.peers {
		fmt.Fprintf(w, " %s |", p.Name)
	}
	fmt.Fprint(w, "\n|---|---|---|", strings.Repeat("---:|", len(r.peers)), "\n")
	for _, row := range r.rows {
		for _, m := range row.Metrics {
			better := "less"
			if m.More {
				better = "more"
			}
			if m.Goal != "" {
				better += ", " + m.Goal
			}
			fmt.Fprintf(w, "| %s | %s | %s |", row.Title, m.Unit, better)
			for _, p := range r.peers {
				fmt.Fprintf(w, " %s |", r.cell(row, m, p.Name))
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintln(w)
	for _, p := range r.peers {
		fmt.Fprintf(w, "- %s: %s. %s\n", p.Name, p.Note, r.Peers[p.Name])
	}
	for _, s := range r.Samples {
		if why := s.problem(); why != "" {
			fmt.Fprintf(w, "- round %d, %s, %s: %s\n", s.Round+1, s.Peer, s.Row, why)
		}
	}
}

// cell is one figure, with its ratio unless it is ours.
func (r *report) cell(row row, m metric, peer string) string {
	var values, ratios []float64
	var errs int64
	for _, s := range r.of(row.Title, peer) {
		if s.Fail != "" {
			return "failed"
		}
		errs += s.Errors
		v := m.Of(s)
		values = append(values, v)
		for _, our := range r.of(row.Title, r.peers[0].Name) {
			if our.Round == s.Round && our.Fail == "" && v > 0 {
				ratios = append(ratios, m.Of(our)/v)
			}
		}
	}
	if len(values) == 0 {
		return ""
	}
	text := short(median(values))
	if peer != r.peers[0].Name && len(ratios) > 0 {
		ratio := median(ratios)
		form := " (×%.2f)"
		if m.More && ratio >= 1 || !m.More && ratio <= 1 {
			form = " (**×%.2f**)"
		}
		text += fmt.Sprintf(form, ratio)
	}
	if errs > 0 {
		text += fmt.Sprintf(", %d errors", errs)
	}
	return text
}

func (r *report) of(row, peer string) []sample {
	var found []sample
	for _, s := range r.Samples {
		if s.Row == row && s.Peer == peer {
			found = append(found, s)
		}
	}
	return found
}

// problem is what was wrong in s, or nothing.
func (s sample) problem() string {
	switch {
	case s.Fail != "":
		return strings.ReplaceAll(s.Fail, "\n", " / ")
	case s.Errors > 0:
		return fmt.Sprintf("%d of %d failed, the first: %s", s.Errors, s.Errors+s.Units, s.First)
	}
	return ""
}

// failure is an error when Switchyard had one in any sample.
func (r *report) failure() error {
	for _, s := range r.Samples {
		if why := s.problem(); why != "" && s.Peer == r.peers[0].Name {
			return fmt.Errorf("%s had errors", s.Peer)
		}
	}
	return nil
}

// write writes the samples as JSON.
func (r *report) write(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stderr, "samples:", file)
	return err
}

// median of an even number of values is the mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// short writes x with three digits that say something.
func short(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
