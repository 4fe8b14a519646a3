//go:build !race

package testkit

// Race says whether the tests run under the race detector, which makes them some ten times slower.
const Race = false
