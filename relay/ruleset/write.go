package ruleset

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// WriteDomains writes a set as text or mrs. Its keywords and regular expressions, which neither can
// hold, are left out.
func WriteDomains(w io.Writer, d *match.Domains, f Format) error {
	if f == MRS {
		return domainsMRS(w, d)
	}
	return writeText(w, d.Patterns(), f)
}

// WritePrefixes writes a set as text or mrs.
func WritePrefixes(w io.Writer, p *match.Prefixes, f Format) error {
	if f == MRS {
		return prefixesMRS(w, p)
	}
	return writeText(w, p.All(), f)
}

func writeText[T any](w io.Writer, entries iter.Seq[T], f Format) error {
	if f != Text {
		return fmt.Errorf("rule sets are not written as %v", f)
	}
	out := bufio.NewWriter(w) // keeps its first error for Flush
	for entry := range entries {
		fmt.Fprintln(out, entry)
	}
	return out.Flush()
}
