package main

import (
	"fmt"
	"io"
	"os"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/ruleset"
)

const convertHelp = `Usage: switchyard convert-ruleset BEHAVIOR FORMAT SOURCE TARGET

Writes the rule set in the file SOURCE, of BEHAVIOR domain or ipcidr, to the file TARGET: as mrs
where its FORMAT is yaml or text, and as text where that is mrs.
`

// convert runs convert-ruleset.
func convert(args []string, errOut io.Writer) int {
	if len(args) != 4 {
		fmt.Fprint(errOut, convertHelp)
		return exitUsage
	}
	behavior, err := ruleset.ParseBehavior(args[0])
	if err != nil {
		return convertFailed(errOut, exitUsage, "behavior", err)
	}
	format, err := ruleset.ParseFormat(args[1])
	if err != nil {
		return convertFailed(errOut, exitUsage, "format", err)
	}
	source, err := os.ReadFile(args[2])
	if err != nil {
		return convertFailed(errOut, exitConfig, "source", err)
	}
	set, warnings, err := ruleset.Convert(behavior, format, source)
	if err != nil {
		return convertFailed(errOut, exitConfig, args[2], err)
	}
	for _, w := range warnings.First {
		fmt.Fprintf(errOut, "%s:%d: warning: left out %s\n", args[2], w.Line, w.Text)
	}
	if more := warnings.Total - len(warnings.First); more > 0 {
		fmt.Fprintf(errOut, "%s: warning: and %d more lines\n", args[2], more)
	}
	if err := writeTarget(args[3], set); err != nil {
		return convertFailed(errOut, exitStart, "target", err)
	}
	fmt.Fprintf(errOut, "%s: %d bytes\n", args[3], len(set)) // the set itself may go to standard output
	return exitOK
}

func convertFailed(errOut io.Writer, code int, what string, err error) int {
	fmt.Fprintf(errOut, "switchyard: convert-ruleset: %s: %v\n", what, err)
	return code
}

// writeTarget writes a file whole or not at all. What is there and is no plain file, such as a link or
// /dev/stdout, is written to as it is.
func writeTarget(path string, data []byte) error {
	mode := os.FileMode(0o644) // a web server may have to read it
	if st, err := os.Lstat(path); err == nil {
		if mode = st.Mode().Perm(); !st.Mode().IsRegular() {
			return os.WriteFile(path, data, mode)
		}
	}
	if err := fetch.Replace(path, data); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
