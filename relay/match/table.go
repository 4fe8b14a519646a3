package match

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// table finds names in an arena of records. A record is the length of a name, a byte of flags, width
// bytes of the user's, and the name.
//
// The slots are an open hash table; a slot is the upper half of a hash and, plus one, the place of
// the record. Before them stands a filter of about eight bits a name, which answers most questions
// about names that are not there without a look at the slots.
type table struct {
	arena  []byte
	slots  []uint64
	filter []uint64
	n      int // records
	steps  int // that build may still take from slot to slot
	width  int
}

const headSize = 2

// maxNames bounds the names of one set: a file of two bytes a line has very many.
const maxNames = 1 << 24

var (
	errTooMany  = fmt.Errorf("more than %d names", maxNames)
	errTooLarge = errors.New("the names are more than 4 GiB")
	// errHostile is about names that were made to collide; no list of real names comes near.
	errHostile = errors.New("the names collide in the hash table, as if they were chosen for it")
)

// maxProbes bounds the way from a name's slot to its place.
const maxProbes = 4096

// add appends a record; build makes it findable.
func (t *table) add(name string, flags byte, value uint32) { addRecord(t, name, flags, value) }

func addRecord[T string | []byte](t *table, name T, flags byte, value uint32) {
	t.arena = append(t.arena, byte(len(name)), flags)
	if t.width > 0 {
		t.arena = binary.LittleEndian.AppendUint32(t.arena, value)
	}
	t.arena = append(t.arena, name...)
	t.n++
}

// size is the size of the record at off.
func (t *table) size(off int) int { return headSize + t.width + int(t.arena[off]) }

func (t *table) name(off uint32) []byte {
	at := int(off) + headSize + t.width
	return t.arena[at : at+int(t.arena[off])]
}

func (t *table) flags(off uint32) byte { return t.arena[off+1] }

func (t *table) value(off uint32) uint32 {
	return binary.LittleEndian.Uint32(t.arena[off+headSize:])
}

// build makes the records findable. Of equal names the first stays: merge is told of it and of the
// one that goes. Records are moved together on the way.
func (t *table) build(merge func(stays, goes uint32)) error {
	switch {
	case t.n > maxNames:
		return errTooMany
	case uint64(len(t.arena)) >= 1<<32-1:
		return errTooLarge
	}
	size := 1 << bits.Len(uint(t.n+t.n/3+1))
	t.slots = make([]uint64, size)
	t.filter = make([]uint64, max(1, 1<<bits.Len(uint(t.n/8))))
	t.steps = 16*t.n + 1<<24 // names that nobody chose need two or three each
	n, w := 0, 0
	var batch [32]uint64
	for r := 0; r < len(t.arena); {
		// Hashing some names before their slots are touched lets the memory work ahead.
		k, end := 0, r
		for ; k < len(batch) && end < len(t.arena); k++ {
			batch[k] = finish(hashOf(t.name(uint32(end))))
			end += t.size(end)
		}
		for _, h := range batch[:k] {
			size := t.size(r)
			slot, old, err := t.place(h, t.name(uint32(r)))
			switch {
			case err != nil:
				return err
			case slot < 0:
				merge(old, uint32(r))
			default:
				copy(t.arena[w:], t.arena[r:r+size])
				t.slots[slot] = h&^0xffffffff | uint64(w+1)
				word, mask := t.bits(h)
				t.filter[word] |= mask
				w += size
				n++
			}
			r += size
		}
	}
	t.arena, t.n = t.arena[:w:w], n
	return nil
}

// place finds the free slot for a name, or the record that has it.
func (t *table) place(h uint64, name []byte) (slot int, old uint32, err error) {
	mask := uint64(len(t.slots) - 1)
	for i := range uint64(maxProbes) {
		at := (h + i) & mask
		s := t.slots[at]
		if t.steps--; t.steps < 0 {
			break
		}
		if s == 0 {
			return int(at), 0, nil
		}
		if s>>32 == h>>32 && string(t.name(uint32(s)-1)) == string(name) {
			return -1, uint32(s) - 1, nil
		}
	}
	return -1, 0, errHostile
}

// bits are the places of a hash in the filter: three in one word.
func (t *table) bits(h uint64) (word int, mask uint64) {
	return int(h >> 20 & uint64(len(t.filter)-1)), 1<<(h>>58) | 1<<(h>>52&63) | 1<<(h>>46&63)
}

// find returns the place of the record of the name whose hash is h.
func (t *table) find(h uint64, name string) (off uint32, ok bool) {
	if t.n == 0 {
		return 0, false
	}
	if word, mask := t.bits(h); t.filter[word]&mask != mask {
		return 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := range uint64(maxProbes) {
		s := t.slots[(h+i)&mask]
		if s == 0 {
			return 0, false
		}
		if s>>32 == h>>32 && string(t.name(uint32(s)-1)) == name {
			return uint32(s) - 1, true
		}
	}
	return 0, false
}

// Index finds the smallest number that was given to a name.
type Index struct {
	t    table
	more map[uint32][]int32 // by the place of a name: its numbers but the first, ascending
}

// NewIndex returns an index for names that Add gives it. It can be asked once Build was called.
func NewIndex() *Index { return &Index{t: table{width: 4}} }

// Add gives a number to a name of at most 255 bytes. Numbers are given in ascending order.
func (x *Index) Add(name string, number int32) { x.t.add(name, 0, uint32(number)) }

// Build ends the adding.
func (x *Index) Build() error {
	return x.t.build(func(stays, goes uint32) {
		if x.more == nil {
			x.more = make(map[uint32][]int32)
		}
		x.more[stays] = append(x.more[stays], int32(x.t.value(goes)))
	})
}

// Exact returns the smallest number from from on that was given to n itself, or none.
func (x *Index) Exact(n *Name, from, none int32) int32 {
	if n.n == 0 {
		return none
	}
	return x.first(n.hash[n.n-1], n.text, from, none)
}

// Suffix returns the smallest number from from on that was given to n or to a name above it, or none.
func (x *Index) Suffix(n *Name, from, none int32) int32 {
	if x.t.n == 0 {
		return none
	}
	for i := range n.n {
		none = x.first(n.hash[i], n.suffix(i), from, none)
	}
	return none
}

func (x *Index) first(h uint64, name string, from, none int32) int32 {
	off, ok := x.t.find(h, name)
	if !ok {
		return none
	}
	if number := int32(x.t.value(off)); number >= from {
		return min(none, number)
	}
	return min(none, firstFrom(x.more[off], from, none))
}
