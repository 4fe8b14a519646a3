package match

import "strings"

// maxDense bounds the table of the automaton, in cells of four bytes.
const maxDense = 1 << 22

// Keywords finds which of many texts a name contains, in one pass over the name.
//
// It is an Aho-Corasick automaton whose table has a row for each state and a column for each byte that
// occurs. Texts for which the table would grow too large are looked for one by one.
type Keywords struct {
	texts   []keyword
	class   [256]uint16 // the column of a byte; 0 is that of all others
	classes int
	next    []int32
	out     []output // of each state
	rest    []keyword
}

type keyword struct {
	text   string
	number int32
}

// output is what a state says: the smallest number of all texts that end in it, the numbers of the
// text that is the state, and the next shorter state that has any.
type output struct {
	min     int32
	shorter int32
	numbers []int32
}

const noNumber = 1<<31 - 1

// NewKeywords returns an automaton for the texts that Add gives it. It can be asked once Build was
// called.
func NewKeywords() *Keywords { return &Keywords{} }

// Add gives a number to a text. Numbers are given in ascending order.
func (k *Keywords) Add(text string, number int32) {
	k.texts = append(k.texts, keyword{text, number})
}

// Build ends the adding.
func (k *Keywords) Build() {
	for _, t := range k.texts {
		for i := range len(t.text) {
			if c := &k.class[t.text[i]]; *c == 0 {
				k.classes++
				*c = uint16(k.classes)
			}
		}
	}
	k.classes++ // the column of all others
	k.row()
	for _, t := range k.texts {
		if !k.insert(t) {
			k.rest = append(k.rest, t)
		}
	}
	k.texts = nil
	k.link()
}

// row appends a state.
func (k *Keywords) row() int32 {
	k.next = append(k.next, make([]int32, k.classes)...)
	k.out = append(k.out, output{min: noNumber})
	return int32(len(k.out) - 1)
}

// insert puts a text into the tree, if there is room. The empty text would end at the root, where
// firstOf does not look: it goes to those without room.
func (k *Keywords) insert(t keyword) bool {
	if t.text == "" || len(k.next)+len(t.text)*k.classes > maxDense {
		return false
	}
	var s int32
	for i := range len(t.text) {
		cell := int(s)*k.classes + int(k.class[t.text[i]])
		if k.next[cell] == 0 {
			n := k.row()
			k.next[cell] = n
		}
		s = k.next[cell]
	}
	o := &k.out[s]
	o.numbers = append(o.numbers, t.number)
	o.min = min(o.min, t.number)
	return true
}

// link turns the tree into an automaton, in breadth first: a state without a child for a byte goes
// where the longest proper suffix of it goes.
func (k *Keywords) link() {
	fail := make([]int32, len(k.out))
	queue := make([]int32, 0, len(k.out))
	for c := range k.classes {
		if s := k.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for i := 0; i < len(queue); i++ {
		s := queue[i]
		o, f := &k.out[s], &k.out[fail[s]]
		o.min = min(o.min, f.min)
		if o.shorter = fail[s]; f.numbers == nil {
			o.shorter = f.shorter
		}
		for c := range k.classes {
			cell, back := int(s)*k.classes+c, k.next[int(fail[s])*k.classes+c]
			if child := k.next[cell]; child != 0 {
				fail[child] = back
				queue = append(queue, child)
			} else {
				k.next[cell] = back
			}
		}
	}
}

// First returns the smallest number from from on of a text that name contains, or none.
func (k *Keywords) First(name string, from, none int32) int32 {
	for i := range k.rest {
		if r := &k.rest[i]; r.number >= from && r.number < none && strings.Contains(name, r.text) {
			none = r.number
			break
		}
	}
	var s int32
	for i := range len(name) {
		s = k.next[int(s)*k.classes+int(k.class[name[i]])]
		if o := &k.out[s]; o.min < none {
			none = k.firstOf(s, from, none)
		}
	}
	return none
}

// firstOf looks through all texts that end in state s.
func (k *Keywords) firstOf(s, from, none int32) int32 {
	if m := k.out[s].min; m >= from {
		return m
	}
	for ; s != 0; s = k.out[s].shorter {
		none = min(none, firstFrom(k.out[s].numbers, from, none))
	}
	return none
}

// Has says whether name contains any of the texts.
func (k *Keywords) Has(name string) bool { return k.First(name, 0, noNumber) != noNumber }
