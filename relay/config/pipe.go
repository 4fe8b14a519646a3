package config

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// pipeRoot is where the named pipes of Windows are; its case does not matter.
const pipeRoot = `\\.\pipe\`

// maxPipeName is how long the name of a pipe may be, in UTF-16 words and with its root.
const maxPipeName = 256

// checkPipe judges the name of the API's pipe on the system goos. Only Windows has any.
func (c *Config) checkPipe(d *decoder, goos string) {
	const key = "external-controller-pipe"
	name := c.Controller.Pipe
	switch {
	case goos != "windows":
		c.note(d, key, "changes nothing on this system")
	case name != "" && !isPipe(name):
		d.report(Error, d.places[key], key, fmt.Sprintf("want a name such as %sswitchyard, got %#q", pipeRoot, name), "")
	}
}

func isPipe(name string) bool {
	return len(name) > len(pipeRoot) && strings.EqualFold(name[:len(pipeRoot)], pipeRoot) &&
		!strings.Contains(name, "\x00") && len(utf16.Encode([]rune(name))) <= maxPipeName
}
