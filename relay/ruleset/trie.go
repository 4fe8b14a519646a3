package ruleset

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// maxKey is the longest name with the sign for all that is below it.
const maxKey = 255 + len("+.")

var (
	errTrie    = errors.New("mrs: the names are no tree")
	errLongKey = errors.New("mrs: a name is longer than 255 bytes")
)

// words are bits in a file, in big-endian words of 64 with the lowest bit first.
type words []byte

func (w words) word(i int) uint64 { return binary.BigEndian.Uint64(w[8*i:]) }

func (w words) bit(k int) bool { return w[k>>3^7]>>(k&7)&1 != 0 }

// trie is a tree of reversed names, as it stands in a file. Its nodes have numbers, breadth first
// from 0 for the root. In the bitmap a 0 is a node and the next 1 says that its parent has no more
// children: child k of the file, from 1, is a 0 and has labels[k-1]. So at the place p among the
// children of node n, behind n ones, stands child p-n+1.
type trie struct {
	leaves words // the nodes that end a name
	bitmap words
	labels []byte
	starts []uint32 // where in the bitmap the children of every 16th node stand
}

const stride = 16 // of starts

// index fills starts, and refuses a bitmap that has not a 1 for each node, the last of them at the
// end. With that, and because each child has one parent and the root none, a walk from the root ends.
func (t *trie) index() error {
	nodes := len(t.labels) + 1
	t.starts = make([]uint32, 1, nodes/stride+1)
	ones, end := 0, 0
	for i := range len(t.bitmap) / 8 {
		w := t.bitmap.word(i)
		if w == 0 {
			continue
		}
		n := bits.OnesCount64(w)
		for node := stride * len(t.starts); node <= ones+n; node += stride {
			t.starts = append(t.starts, uint32(64*i+place(w, node-ones-1)+1))
		}
		if ones += n; ones > nodes {
			return errTrie
		}
		end = 64*i + bits.Len64(w)
	}
	if ones != nodes || end != 2*nodes-1 {
		return errTrie
	}
	return nil
}

// place is where in w the 1 with the number k from 0 stands.
func place(w uint64, k int) int {
	for range k {
		w &= w - 1
	}
	return bits.TrailingZeros64(w)
}

// children is where in the bitmap the children of a node stand.
func (t *trie) children(node int) int {
	at, skip := int(t.starts[node/stride]), node%stride
	if skip == 0 {
		return at
	}
	i := at / 64
	w := t.bitmap.word(i) >> (at % 64) << (at % 64)
	for n := bits.OnesCount64(w); n < skip; n = bits.OnesCount64(w) {
		skip -= n
		i++
		w = t.bitmap.word(i)
	}
	return 64*i + place(w, skip-1) + 1
}

func (t *trie) leaf(node int) bool { return node < 8*len(t.leaves) && t.leaves.bit(node) }

// child finds the child of a node, whose children stand at the place at.
func (t *trie) child(node, at int, label byte) (child int, ok bool) {
	for ; !t.bitmap.bit(at); at++ {
		if child = at - node + 1; t.labels[child-1] == label {
			return child, true
		}
	}
	return 0, false
}

// step is a node on the way from the root to the one a walk is at.
type step struct {
	node int
	next int // the place of the child that comes next
	last int // the label of the one before it, or -1
}

// walk calls pattern for every name, as match takes it: a name and the sign for all that is below
// it are one pattern. The text is valid during the call only, in which it may be changed. An error
// of pattern ends the walk.
func (t *trie) walk(pattern func(text []byte) error) error {
	if err := t.index(); err != nil {
		return err
	}
	var key, text [maxKey]byte // key is filled from its end: names are reversed
	var way [maxKey + 1]step
	way[0].last = -1
	walked := 0
	for depth := 0; depth >= 0; {
		s := &way[depth]
		if t.bitmap.bit(s.next) {
			depth--
			continue
		}
		child := s.next - s.node + 1
		label := t.labels[child-1]
		switch {
		case int(label) <= s.last:
			return errTrie
		case depth == maxKey:
			return errLongKey
		}
		s.next, s.last = s.next+1, int(label)
		walked++
		depth++
		key[maxKey-depth] = label
		way[depth] = step{child, t.children(child), -1}
		if t.leaf(child) {
			if sign, name := t.sign(way[:depth+1], key[maxKey-depth:]); name != nil {
				if err := pattern(append(append(text[:0], sign...), name...)); err != nil {
					return err
				}
			}
		}
	}
	if walked != len(t.labels) {
		return errTrie
	}
	return nil
}

// sign makes a pattern of the key that the end of a way stands for. There is none where the key is
// part of the pattern of another.
func (t *trie) sign(way []step, key []byte) (sign string, name []byte) {
	depth := len(way) - 1
	if depth > 2 && key[0] == '+' && key[1] == '.' {
		if t.leaf(way[depth-2].node) {
			return "", nil
		}
		return ".", key[2:]
	}
	here := way[depth]
	if dot, ok := t.child(here.node, here.next, '.'); ok {
		if plus, ok := t.child(dot, t.children(dot), '+'); ok && t.leaf(plus) {
			return "+.", key
		}
	}
	return "", key
}
