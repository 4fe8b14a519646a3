package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
)

// DefaultUIURL is where the web panel comes from when the file does not say.
const DefaultUIURL = "https://github.com/MetaCubeX/metacubexd/archive/refs/heads/gh-pages.zip"

// DefaultUI is the directory of the web panel where there is no external-ui, in the home directory.
// Nobody is served from there.
const DefaultUI = "ui"

// PanelURL is where the archive of the web panel is. It may hold a secret.
func (c *Controller) PanelURL() string { return cmp.Or(c.UIURL, DefaultUIURL) }

// Panel is where the web panel is.
type Panel struct {
	Dir  string // what is served: absolute, without symbolic links
	Name string // of the panel below Dir, slash-separated; "" is Dir itself
}

// Panel finds the directory of the web panel, which must be one that Paths allows and is not to hold
// the home directory or the configuration: everybody may read what is in it, and replacing the panel
// removes it. Else it returns a *PathError.
func (c *Config) Panel() (Panel, error) {
	dir, err := c.Paths.Resolve(cmp.Or(c.Controller.UI, DefaultUI))
	if err != nil {
		return Panel{}, err
	}
	for _, own := range []string{c.Paths.Home, c.File} {
		if !filepath.IsAbs(own) { // there is none, or it is the name of a payload
			continue
		}
		real, err := evaluate(own)
		if err != nil {
			real = own
		}
		if inside(dir, own) || inside(dir, real) {
			return Panel{}, &PathError{Text: fmt.Sprintf("%s holds %s: want a directory of its own, such as %s", dir, own, DefaultUI)}
		}
	}
	return Panel{Dir: dir, Name: strings.Trim(c.Controller.UIName, "/")}, nil
}

// Holds says whether a file, by its path without links, is in the directory: everybody can read it there.
func (p Panel) Holds(path string) bool { return inside(p.Dir, path) }

// checkPanel judges the name of the panel's directory, which is below another one.
func (c *Config) checkPanel(d *decoder) {
	const key = "external-ui-name"
	name := strings.Trim(c.Controller.UIName, "/")
	if name == "" {
		return
	}
	for word := range strings.SplitSeq(name, "/") {
		if word == "" || word[0] == '.' || strings.ContainsAny(word, "\\:\x00") {
			d.report(Error, d.places[key], key, fmt.Sprintf("want the name of a directory, such as panel, got %q", c.Controller.UIName), "")
			return
		}
	}
}
