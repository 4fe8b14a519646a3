package match

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
)

// A set of names as it is kept on disk, ready to be asked: the magic, the counts, the arena, the slots
// and the filter, and a checksum of it all. Numbers are little-endian. The checksum is there against
// damage; whoever can write the file could as well write the set it was made of.
const binaryMagic = "SYDOM\x00\x01\n"

// ErrBinary means that data is no set of names, or a damaged one, or one of another version.
var ErrBinary = errors.New("no compiled set of names, or a damaged one")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// binaryHead follows the magic.
type binaryHead struct {
	Count, Records, Arena, Slots, Filter uint64
	Root                                 uint64
}

// WriteBinary writes the set as ReadBinary reads it. A set with keywords or regular expressions has
// no such form.
func (d *Domains) WriteBinary(w io.Writer) error {
	if d.keywords != nil || d.regexes != nil {
		return errors.New("a set with keywords has no binary form")
	}
	sum := crc32.New(castagnoli)
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	head := binaryHead{uint64(d.count), uint64(d.t.n), uint64(len(d.t.arena)), uint64(len(d.t.slots)), uint64(len(d.t.filter)), uint64(d.root)}
	_, _ = buffered.WriteString(binaryMagic) // errors stay, and Flush returns them
	_ = binary.Write(buffered, binary.LittleEndian, &head)
	_, _ = buffered.Write(d.t.arena)
	var b [8]byte
	for _, words := range [][]uint64{d.t.slots, d.t.filter} {
		for _, n := range words {
			binary.LittleEndian.PutUint64(b[:], n)
			_, _ = buffered.Write(b[:])
		}
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(b[:4], sum.Sum32())
	_, err := w.Write(b[:4])
	return err
}

// ReadBinary reads what WriteBinary wrote. size is how many bytes r has; nothing larger is made room
// for.
func ReadBinary(r io.Reader, size int64) (*Domains, error) {
	sum := crc32.New(castagnoli)
	all := io.TeeReader(r, sum)
	magic := make([]byte, len(binaryMagic))
	var head binaryHead
	if _, err := io.ReadFull(all, magic); err != nil || string(magic) != binaryMagic {
		return nil, ErrBinary
	}
	if err := binary.Read(all, binary.LittleEndian, &head); err != nil || !head.fits(size) {
		return nil, ErrBinary
	}
	d := &Domains{count: int(head.Count), root: byte(head.Root)}
	d.t.n = int(head.Records)
	d.t.arena = make([]byte, head.Arena)
	if _, err := io.ReadFull(all, d.t.arena); err != nil {
		return nil, ErrBinary
	}
	var err error
	if d.t.slots, err = readWords(all, head.Slots); err != nil {
		return nil, ErrBinary
	}
	if d.t.filter, err = readWords(all, head.Filter); err != nil {
		return nil, ErrBinary
	}
	want := sum.Sum32()
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil || binary.LittleEndian.Uint32(b[:]) != want || !d.t.sound() {
		return nil, ErrBinary
	}
	return d, nil
}

// fits says whether all that the head announces is within size bytes, and possible.
func (h *binaryHead) fits(size int64) bool {
	most := uint64(max(size, 0))
	if h.Arena > most || h.Slots > most/8 || h.Filter > most/8 || h.Count > math.MaxInt32 || h.Root > 255 {
		return false
	}
	return h.Arena+8*h.Slots+8*h.Filter <= most && h.Records <= h.Arena && h.Records < h.Slots &&
		h.Slots&(h.Slots-1) == 0 && h.Filter > 0 && h.Filter&(h.Filter-1) == 0
}

func readWords(r io.Reader, n uint64) ([]uint64, error) {
	words := make([]uint64, n)
	var buf [1 << 15]byte
	for i := 0; i < len(words); {
		part := buf[:min(len(buf), 8*(len(words)-i))]
		if _, err := io.ReadFull(r, part); err != nil {
			return nil, err
		}
		for ; len(part) > 0; part, i = part[8:], i+1 {
			words[i] = binary.LittleEndian.Uint64(part)
		}
	}
	return words, nil
}

// sound says whether no question can lead out of the arena, or never end.
func (t *table) sound() bool {
	n, used := 0, 0
	for off := 0; off < len(t.arena); n++ {
		if off+headSize > len(t.arena) || off+t.size(off) > len(t.arena) {
			return false
		}
		off += t.size(off)
	}
	for _, s := range t.slots {
		off := uint64(uint32(s))
		if off == 0 && s != 0 || off > uint64(len(t.arena)) {
			return false
		}
		if s != 0 {
			if off--; off+headSize > uint64(len(t.arena)) || int(off)+t.size(int(off)) > len(t.arena) {
				return false
			}
			used++
		}
	}
	return n == t.n && used == t.n && used < len(t.slots)
}
