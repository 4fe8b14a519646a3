// Package spec holds the contract, openapi.yaml, as JSON.
package spec

import _ "embed" // for the document

//go:embed openapi.gen.json
var document string

// JSON returns the contract.
func JSON() string { return document }
