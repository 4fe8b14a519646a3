package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay"
	"github.com/switchyard-proxy/switchyard/relay/config"
)

// source is where the configuration comes from, and what to call that.
type source struct {
	relay.Source
	embedded bool
	piped    bool // from standard input, which can be read once
}

func (s *source) describe() string {
	if s.File != "" {
		return "file " + s.File
	}
	return s.Name
}

// source finds the home directory and the configuration.
func (f *flags) source(in io.Reader) (*source, error) {
	home, file, err := f.places()
	if err != nil {
		return nil, err
	}
	s := &source{Source: relay.Source{
		Paths: config.Paths{
			Home: home, Safe: filepath.SplitList(os.Getenv("SAFE_PATHS")),
			Unchecked: os.Getenv("SKIP_SAFE_PATH_CHECK") == "true",
		},
		Override: f.override,
	}}
	switch {
	case f.text != "":
		if s.Text, err = base64.StdEncoding.DecodeString(f.text); err != nil {
			return nil, errors.New("-config: want the configuration in base64")
		}
		s.Name = "-config"
	case f.file == "-":
		if s.Text, err = io.ReadAll(in); err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		s.Name, s.piped = "standard input", true
	case file != "":
		s.File = file
	default:
		s.Text, s.Name, s.embedded = config.EmbeddedYAML(), "built-in configuration", true
	}
	return s, nil
}

// places finds the home directory, and the configuration file if there is one.
func (f *flags) places() (home, file string, err error) {
	if home = f.home; home == "" {
		home = defaultHome()
	}
	if home, err = filepath.Abs(home); err != nil {
		return "", "", fmt.Errorf("home directory: %w", err)
	}
	switch file = f.file; {
	case file == "-":
		return home, "", nil
	case file == "":
		file = filepath.Join(home, "config.yaml")
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return home, "", nil
		}
	case !filepath.IsAbs(file):
		if file, err = filepath.Abs(file); err != nil {
			return "", "", fmt.Errorf("configuration file: %w", err)
		}
	}
	return home, file, nil
}

// defaultHome is our directory, unless only an earlier installation of the family has a file.
func defaultHome() string {
	user, _ := os.UserHomeDir()
	dotConfig := os.Getenv("XDG_CONFIG_HOME")
	if dotConfig == "" {
		dotConfig = filepath.Join(user, ".config")
	}
	ours := filepath.Join(dotConfig, "switchyard")
	for _, dir := range []string{
		ours, filepath.Join(dotConfig, "mihomo"), filepath.Join(user, ".config", "mihomo"),
		filepath.Join(dotConfig, "clash"),
	} {
		if _, err := os.Stat(filepath.Join(dir, "config.yaml")); err == nil {
			return dir
		}
	}
	return ours
}

// override gives the command line the last word over the file.
func (f *flags) override(c *config.Config) {
	for _, o := range []struct {
		to   *string
		word string
	}{
		{&c.Controller.Addr, f.controller},
		{&c.Controller.Unix, f.controllerUnix},
		{&c.Controller.Pipe, f.controllerPipe},
		{&c.Controller.Secret, f.secret},
		{&c.Controller.UI, f.ui},
	} {
		if o.word != "" {
			*o.to = strings.TrimSpace(o.word)
		}
	}
	c.Geo.Mode = c.Geo.Mode || f.geodata
}
