// Command switchyard is the proxy daemon: it reads a configuration of the Clash.Meta family,
// relays flows by its rules, and serves the family's controller API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/switchyard-proxy/switchyard/impl"
	"github.com/switchyard-proxy/switchyard/relay"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/handover"
)

// The exit codes; the help explains them.
const (
	exitOK = iota
	exitConfig
	exitUsage
	exitStart
	exitRun
)

// version is set by the linker; see the Makefile.
var version string

func main() {
	left, err := handover.Receive()
	if err != nil {
		fmt.Fprintln(os.Stderr, "switchyard:", err)
	}
	code := hosted(func(ctx context.Context, errOut io.Writer) int {
		return run(ctx, os.Args[1:], left, os.Stdin, os.Stdout, errOut)
	})
	if code != exitOK {
		left.Failed(fmt.Errorf("it ended with exit code %d", code))
	}
	os.Exit(code)
}

// run is the program, until ctx ends. left is what a process before it has left, nil for nothing.
func run(ctx context.Context, args []string, left *handover.Received, in io.Reader, out, errOut io.Writer) int {
	if left != nil && left.Text != nil {
		in = left.Text
	}
	if len(args) > 0 && args[0] == "convert-ruleset" {
		return convert(args[1:], errOut)
	}
	f, err := parseFlags(args, errOut)
	switch {
	case errors.Is(err, errHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case f.version:
		fmt.Fprintf(out, "switchyard %s %s/%s %s\n", versionText(), runtime.GOOS, runtime.GOARCH, runtime.Version())
		return exitOK
	}
	source, err := f.source(in)
	if err != nil {
		fmt.Fprintln(errOut, "switchyard:", err)
		return exitConfig
	}
	if f.test {
		return test(source, out)
	}
	return serve(ctx, source, left, out, errOut)
}

// test prints all that is to be said of the configuration.
func test(s *source, out io.Writer) int {
	c, diags, err := s.Read()
	for _, d := range diags {
		fmt.Fprintln(out, d)
	}
	var more error // what Read does not see
	switch {
	case err == nil:
		more = errors.Join(relay.Check(c), impl.Check(c))
	case c != nil:
		more = impl.Check(c)
	case len(diags) == 0:
		more = err
	}
	if more != nil {
		fmt.Fprintln(out, more)
		err = more
	}
	if err != nil {
		fmt.Fprintf(out, "configuration %s test failed\n", s.describe())
		return exitConfig
	}
	fmt.Fprintf(out, "configuration %s test is successful\n", s.describe())
	return exitOK
}

// exitCode says what ended the daemon before it served.
func exitCode(err error) int {
	var invalid *config.Invalid
	var path *config.PathError
	if errors.As(err, &invalid) || errors.As(err, &path) {
		return exitConfig
	}
	return exitStart
}

// versionText is the linker's version, or what Go knows of the build.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "v0.0.0-dev"
}
