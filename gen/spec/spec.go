// Package spec holds the contract, openapi.yaml, as it is written and as JSON.
package spec

import _ "embed" // for the document

var (
	//go:embed openapi.gen.json
	document string
	//go:embed openapi.gen.yaml
	source string
)

// JSON returns the contract.
func JSON() string { return document }

// YAML returns the contract as it is written.
func YAML() string { return source }
