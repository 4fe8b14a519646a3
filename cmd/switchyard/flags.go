package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// flags is the command line. Where a flag is not given its environment variable is used.
type flags struct {
	home, file, text                           string
	controller, controllerUnix, controllerPipe string
	secret, ui                                 string
	geodata, test, version                     bool
}

var errHelp = errors.New("help")

const help = `Usage: switchyard [flags]
       switchyard convert-ruleset BEHAVIOR FORMAT SOURCE TARGET

Relays flows by the rules of a Clash.Meta configuration and serves the controller API.
Without a configuration file it runs a built-in one: a mixed HTTP and SOCKS port on
127.0.0.1:7890, the API on 127.0.0.1:9090, everything direct.

Configuration
  -d DIR             home directory                        (CLASH_HOME_DIR)
                     default: $XDG_CONFIG_HOME/switchyard, else ~/.config/switchyard,
                     else the directory of an earlier Clash.Meta installation
  -f FILE            configuration file, - for standard input (CLASH_CONFIG_FILE)
                     default: config.yaml in the home directory
  -config BASE64     the configuration itself              (CLASH_CONFIG_STRING)
  -m                 geodata mode

Overrides of the file
  -ext-ctl ADDR      external-controller      (CLASH_OVERRIDE_EXTERNAL_CONTROLLER)
  -ext-ctl-unix PATH external-controller-unix (CLASH_OVERRIDE_EXTERNAL_CONTROLLER_UNIX)
  -ext-ctl-pipe PATH external-controller-pipe (CLASH_OVERRIDE_EXTERNAL_CONTROLLER_PIPE); Windows
  -secret WORD       secret                   (CLASH_OVERRIDE_SECRET)
  -ext-ui DIR        external-ui              (CLASH_OVERRIDE_EXTERNAL_UI_DIR)

Others
  -t                 check the configuration, print all that is wrong with it, and exit
  -v                 print the version and exit
  -h, --help         print this and exit
  convert-ruleset    write a rule set as mrs, or one in mrs as text: see it alone

SAFE_PATHS lists directories beside the home directory that files may be read from.
NOTIFY_SOCKET names the socket on which systemd is told how the daemon is.
Signals: SIGHUP reads the configuration again; SIGINT and SIGTERM stop.
Exit codes: 0 stopped or tested well, 1 the configuration is wrong, 2 the command line is,
3 it could not start (a port in use, a certificate that cannot be read), 4 it failed later.
`

func parseFlags(args []string, errOut io.Writer) (*flags, error) {
	f := new(flags)
	fs := flag.NewFlagSet("switchyard", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.Usage = func() { fmt.Fprint(errOut, help) }
	fs.StringVar(&f.home, "d", os.Getenv("CLASH_HOME_DIR"), "")
	fs.StringVar(&f.file, "f", os.Getenv("CLASH_CONFIG_FILE"), "")
	fs.StringVar(&f.text, "config", os.Getenv("CLASH_CONFIG_STRING"), "")
	fs.StringVar(&f.controller, "ext-ctl", os.Getenv("CLASH_OVERRIDE_EXTERNAL_CONTROLLER"), "")
	fs.StringVar(&f.controllerUnix, "ext-ctl-unix", os.Getenv("CLASH_OVERRIDE_EXTERNAL_CONTROLLER_UNIX"), "")
	fs.StringVar(&f.controllerPipe, "ext-ctl-pipe", os.Getenv("CLASH_OVERRIDE_EXTERNAL_CONTROLLER_PIPE"), "")
	fs.StringVar(&f.secret, "secret", os.Getenv("CLASH_OVERRIDE_SECRET"), "")
	fs.StringVar(&f.ui, "ext-ui", os.Getenv("CLASH_OVERRIDE_EXTERNAL_UI_DIR"), "")
	fs.BoolVar(&f.geodata, "m", false, "")
	fs.BoolVar(&f.test, "t", false, "")
	fs.BoolVar(&f.version, "v", false, "")
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil, errHelp
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
		fmt.Fprintf(errOut, "switchyard: %v\n%s", err, help)
	}
	return f, err
}
