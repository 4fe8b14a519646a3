package config

import _ "embed"

//go:embed embedded.yaml
var embedded []byte

// EmbeddedYAML is the configuration of a daemon that has no file.
func EmbeddedYAML() []byte { return embedded }
