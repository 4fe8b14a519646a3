package ruleset

import (
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// zstdWindow is what RFC 8878 (3.1.1.1.2) advises every decoder to have room for.
const zstdWindow = 8 << 20

// compress writes a file of which the header says that it was made from count rules. The same body
// always becomes the same bytes.
func compress(w io.Writer, b Behavior, count int, body []byte) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return err
	}
	file := append(slices.Clone(mrsMagic), byte(b))
	file = binary.BigEndian.AppendUint64(file, uint64(count))
	file = binary.BigEndian.AppendUint64(file, 0) // bytes of extras
	file = append(file, mrsVersion)
	_, err = w.Write(enc.EncodeAll(append(file, body...), nil))
	return err
}

func domainsMRS(w io.Writer, d *match.Domains) error {
	keys := keysOf(d)
	if len(keys) == 0 {
		return ErrEmpty
	}
	var t trieWriter
	t.build(keys)
	return compress(w, Domain, d.Len(), t.body())
}

// keysOf are the reversed names of a set, in order. What is below a name has a key of its own.
func keysOf(d *match.Domains) []string {
	var keys []string
	for pattern := range d.Patterns() {
		if name, ok := strings.CutPrefix(pattern, "+."); ok {
			keys = append(keys, reverse(name), reverse(pattern))
		} else if strings.HasPrefix(pattern, ".") {
			keys = append(keys, reverse("+"+pattern))
		} else {
			keys = append(keys, reverse(pattern))
		}
	}
	slices.Sort(keys)
	return keys
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// trieWriter makes what trie reads.
type trieWriter struct {
	leaves, bitmap []uint64
	nodes, bits    int
	labels         []byte
}

// build adds sorted keys, none of them twice.
func (t *trieWriter) build(keys []string) {
	type node struct{ from, to int } // keys that begin alike
	level, next := []node{{0, len(keys)}}, []node(nil)
	for depth := 0; len(level) > 0; depth++ {
		for _, n := range level {
			if n.from < n.to && len(keys[n.from]) == depth {
				t.leaves = setBit(t.leaves, t.nodes)
				n.from++
			}
			for n.from < n.to {
				label, end := keys[n.from][depth], n.from+1
				for end < n.to && keys[end][depth] == label {
					end++
				}
				t.labels = append(t.labels, label)
				t.bits++
				next = append(next, node{n.from, end})
				n.from = end
			}
			t.bitmap = setBit(t.bitmap, t.bits)
			t.bits++
			t.nodes++
		}
		level, next = next, level[:0]
	}
}

// setBit sets bit k, which is higher than all that are set.
func setBit(words []uint64, k int) []uint64 {
	for len(words) <= k/64 {
		words = append(words, 0)
	}
	words[k/64] |= 1 << (k % 64)
	return words
}

func (t *trieWriter) body() []byte {
	var body []byte
	for _, words := range [...][]uint64{t.leaves, t.bitmap} {
		body = binary.BigEndian.AppendUint64(body, uint64(len(words)))
		for _, w := range words {
			body = binary.BigEndian.AppendUint64(body, w)
		}
	}
	body = binary.BigEndian.AppendUint64(body, uint64(len(t.labels)))
	return append(body, t.labels...)
}

func prefixesMRS(w io.Writer, p *match.Prefixes) error {
	body := rangesBody(p)
	if body == nil {
		return ErrEmpty
	}
	return compress(w, IPCIDR, p.Len(), body)
}

// rangesBody is nil for a set without addresses.
func rangesBody(p *match.Prefixes) []byte {
	var body []byte
	for first, last := range p.Ranges() {
		if !first.Is4() && last.Is4In6() { // the end is IPv4 in the file, and never asked for as IPv6
			last = lastUnmapped
		}
		from, to := first.As16(), last.As16()
		if body == nil {
			body = make([]byte, 8) // the number of ranges
		}
		body = append(append(body, from[:]...), to[:]...)
	}
	if body != nil {
		binary.BigEndian.PutUint64(body, uint64(len(body)/32))
	}
	return body
}

// lastUnmapped is the address before those that stand for IPv4.
var lastUnmapped = netip.MustParseAddr("::fffe:ffff:ffff")
