// Package match holds immutable sets of names, addresses and numbers, made to be asked often: a name
// is hashed once and probed against as many sets as there are, and nothing is allocated by asking.
package match

import "strings"

// maxLabels is how many labels a name of 255 bytes can have.
const maxLabels = 128

// Name is a host name with the hashes of itself and of every name above it. The zero Name is no name
// and is in no set.
type Name struct {
	text string
	n    int               // how many suffixes there are
	hash [maxLabels]uint64 // of each suffix, the shortest first
	at   [maxLabels]uint8  // where each suffix begins in text
}

// Set makes n the name host, which is in lower case and has no trailing dot. It is at most 255 bytes
// long; a longer one is no name.
func (n *Name) Set(host string) {
	n.text, n.n = "", 0
	if len(host) > 255 {
		return
	}
	n.text = host
	h := seed
	for i := len(host) - 1; i >= 0; i-- {
		if host[i] == '.' {
			n.add(i+1, h)
		}
		h = step(h, host[i])
	}
	if host != "" {
		n.add(0, h)
	}
}

func (n *Name) add(at int, h uint64) {
	if n.n < maxLabels {
		n.at[n.n], n.hash[n.n] = uint8(at), finish(h)
		n.n++
	}
}

// String returns the name.
func (n *Name) String() string { return n.text }

// suffix is the i-th suffix, the shortest first.
func (n *Name) suffix(i int) string { return n.text[n.at[i]:] }

// The hash is taken from the last byte to the first, so that every suffix costs one step more than
// the one before it. Whoever finds a hash compares the text: a collision costs time and nothing else.
const (
	seed  uint64 = 0xcbf29ce484222325
	prime uint64 = 0x100000001b3
	mix   uint64 = 0x9e3779b97f4a7c15
)

func step(h uint64, c byte) uint64 { return (h ^ uint64(c)) * prime }

func finish(h uint64) uint64 {
	h = (h ^ h>>32) * mix
	return h ^ h>>29
}

func hashOf[T string | []byte](s T) uint64 {
	h := seed
	for i := len(s) - 1; i >= 0; i-- {
		h = step(h, s[i])
	}
	return h
}

// HasSuffix says whether name is suffix or a name below it.
func HasSuffix(name, suffix string) bool {
	n := len(name) - len(suffix)
	return strings.HasSuffix(name, suffix) && (n == 0 || name[n-1] == '.')
}
