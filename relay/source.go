package relay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// Source is where the daemon's configuration comes from at start and at every reload.
type Source struct {
	Paths config.Paths
	File  string // "" for none
	// Fenced is that a client names File: it must be where Paths allows.
	Fenced bool
	Text   []byte // the configuration itself, where there is no file
	Name   string // what Text is called in messages
	// Override, where set, lets the command line have the last word.
	Override func(*config.Config)
}

// maxFile bounds a configuration file in bytes.
const maxFile = 64 << 20

// Read parses the configuration. It opens nothing else and changes nothing.
func (s *Source) Read() (*config.Config, config.Diagnostics, error) {
	name, text := s.Name, s.Text
	if s.File != "" {
		var err error
		if name, text, err = s.readFile(); err != nil {
			return nil, nil, err
		}
	}
	return s.parse(name, text)
}

// parse reads a configuration and says all that is wrong with it. One that has errors is never
// built, so that judge finds here what building it would have shown.
func (s *Source) parse(name string, text []byte) (*config.Config, config.Diagnostics, error) {
	c, diags := config.Parse(name, text)
	if c != nil {
		c.Paths = s.Paths
		if s.Override != nil {
			diags = diags.Merge(s.override(c))
		}
	}
	err := diags.Err()
	if err != nil && c != nil {
		diags = diags.Merge(judge(c))
		err = diags.Err()
	}
	return c, diags, err
}

// override lets the command line have the last word, and says what is wrong then.
func (s *Source) override(c *config.Config) config.Diagnostics {
	addr := c.Controller.Addr
	s.Override(c)
	diags := c.Validate()
	for i := range diags {
		if d := &diags[i]; d.Path == "external-controller" && addr != c.Controller.Addr {
			d.File, d.Line, d.Column = "-ext-ctl", 0, 0
		}
	}
	return diags
}

// readFile reads the configuration file. Errors name the file and quote nothing of it.
func (s *Source) readFile() (name string, text []byte, err error) {
	open := os.Open
	if s.Fenced {
		open = s.Paths.Open
	}
	f, err := open(s.File)
	if err != nil {
		return "", nil, &config.PathError{Text: err.Error()}
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return "", nil, &config.PathError{Text: err.Error()}
	case len(text) == 0:
		return "", nil, &config.PathError{Text: fmt.Sprintf("configuration file %s is empty", s.File)}
	case len(text) > maxFile:
		return "", nil, &config.PathError{Text: fmt.Sprintf("configuration file %s is larger than %d MiB", s.File, maxFile>>20)}
	}
	return s.File, text, nil
}

// Reload reads the source again and applies it, the controller's settings too. A bug that a file brings
// to light ends the reload and not the daemon.
func (r *Relay) Reload() (err error) {
	defer func() { r.signs.reloaded(err) }()
	defer func() {
		if v := recover(); v != nil {
			r.signs.bugs.Add(1)
			r.log.Error("panic in a reload", "panic", v, "stack", string(debug.Stack()))
			err = &StepError{Step: "read", Err: fmt.Errorf("panic: %v", v)}
		}
	}()
	c, diags, err := r.source.Read()
	r.warn(diags)
	if err != nil {
		return err
	}
	return r.Apply(c)
}

// warn logs what a configuration says that is not wrong.
func (r *Relay) warn(diags config.Diagnostics) {
	for _, d := range diags {
		switch d.Severity {
		case config.Warning:
			r.log.Warn(d.String())
		case config.Note:
			r.log.Info(d.String())
		}
	}
}

// Load applies the configuration in payload, else in the file path, else in the source. The
// controller's settings stay as they are; without force the listening ports and what belongs to
// them do too. Where expected is there and says no to the revision that runs, it fails with config.ErrStale.
func (r *Relay) Load(path, payload string, force bool, expected func(revision string) bool) (err error) {
	defer func() { r.signs.reloaded(err) }()
	c, diags, err := r.parse(path, payload)
	r.warn(diags)
	if err != nil {
		return err
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	if err := r.expect(now, expected); err != nil {
		return err
	}
	keepSettings(c, now.Config, force)
	return r.apply(c, nil)
}

func (r *Relay) parse(path, payload string) (*config.Config, config.Diagnostics, error) {
	switch {
	case payload != "":
		s := Source{Paths: r.source.Paths}
		return s.parse("payload", []byte(payload))
	case path == "":
		return r.source.Read()
	case !filepath.IsAbs(path):
		return nil, nil, &config.PathError{Text: "path is not a absolute path"}
	}
	resolved, err := r.source.Paths.Resolve(path)
	if err != nil {
		var p *config.PathError
		if errors.As(err, &p) {
			return nil, nil, err
		}
		return nil, nil, &config.PathError{Text: err.Error()}
	}
	s := Source{Paths: r.source.Paths, File: resolved, Fenced: true}
	return s.Read()
}

// keepSettings leaves what a client's reload does not touch: the controller, and what is listened on unless
// force says so.
func keepSettings(c, running *config.Config, force bool) {
	c.Controller, c.TLS.Certificate, c.TLS.PrivateKey = running.Controller, running.TLS.Certificate, running.TLS.PrivateKey
	c.Upgrade = running.Upgrade // or who may use the API could have any program run
	c.Controller.Kept = true
	if force {
		return
	}
	c.Port, c.SocksPort, c.MixedPort = running.Port, running.SocksPort, running.MixedPort
	c.RedirPort, c.TProxyPort = running.RedirPort, running.TProxyPort
	c.AllowLAN, c.BindAddress = running.AllowLAN, running.BindAddress
	c.SkipAuthPrefixes, c.LANAllowed, c.LANDisallowed = running.SkipAuthPrefixes, running.LANAllowed, running.LANDisallowed
	c.InboundTFO, c.InboundMPTCP = running.InboundTFO, running.InboundMPTCP
	c.SSConfig, c.VmessConfig, c.TUIC = running.SSConfig, running.VmessConfig, running.TUIC
}
