package match

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"testing"
)

func binaryOf(t *testing.T, d *Domains) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := d.WriteBinary(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(data []byte) (*Domains, error) {
	return ReadBinary(bytes.NewReader(data), int64(len(data)))
}

// sealed makes the last four bytes of data the checksum of the others.
func sealed(data []byte) []byte {
	n := max(len(data)-4, 0)
	return binary.LittleEndian.AppendUint32(data[:n:n], crc32.Checksum(data[:n], crc32.MakeTable(crc32.Castagnoli)))
}

// sample is small and has every kind of record, and a star at the root.
func sample(t *testing.T) []byte {
	l := list{patterns: []string{"+.a.b", ".c", "d.*.c", "*"}}
	return binaryOf(t, l.build(t, rand.New(rand.NewPCG(1, 1))))
}

func TestBinary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		l := randomList(r)
		l.keywords, l.regexes = nil, nil
		d := l.build(t, r)
		data := binaryOf(t, d)
		back, err := read(data)
		if err != nil {
			t.Fatalf("%q: %v", l.patterns, err)
		}
		if back.Len() != d.Len() || !slices.Equal(slices.Collect(back.Patterns()), slices.Collect(d.Patterns())) {
			t.Fatalf("%q: became %d of %q", l.patterns, back.Len(), slices.Collect(back.Patterns()))
		}
		for range 30 {
			host := randomName(r, 6, "a", "b", "ab", "c")
			if got := back.Has(nameOf(host)); got != l.has(host) {
				t.Fatalf("%q: Has(%q) = %v", l.patterns, host, got)
			}
		}
		if again := binaryOf(t, back); !bytes.Equal(again, data) {
			t.Fatalf("%q: written anew is not the same", l.patterns)
		}
	}
}

// TestLargeBinary is larger than the buffers on the way.
func TestLargeBinary(t *testing.T) {
	var b DomainsBuilder
	for i := range 20_000 {
		if err := b.Exact(domain(i)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	data := binaryOf(t, d)
	back, err := ReadBinary(io.MultiReader(bytes.NewReader(data), bytes.NewReader(data)), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40_000 {
		if got := back.Has(nameOf(domain(i))); got != (i < 20_000) {
			t.Fatalf("Has(%q) = %v", domain(i), got)
		}
	}
}

func TestDamagedBinary(t *testing.T) {
	good := sample(t)
	for i := range good {
		for change := 1; change < 256; change++ {
			data := slices.Clone(good)
			data[i] ^= byte(change)
			if _, err := read(data); !errors.Is(err, ErrBinary) {
				t.Fatalf("byte %d changed by %#x: %v", i, change, err)
			}
		}
		if _, err := read(good[:i]); !errors.Is(err, ErrBinary) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
		if _, err := ReadBinary(bytes.NewReader(good[:i]), int64(len(good))); !errors.Is(err, ErrBinary) {
			t.Fatalf("%d bytes that are said to be %d: %v", i, len(good), err)
		}
	}
}

// TestForgedBinary changes bytes under a checksum that is right. Whatever is taken can be asked.
func TestForgedBinary(t *testing.T) {
	good := sample(t)
	hosts := []string{"x.a.b", "x.c", "d.x.c", "x.y.z.c", "x", "", ".", "c.", ".c", "*", dots(128)}
	taken := 0
	for i := range len(good) - 4 {
		for change := 1; change < 256; change++ {
			data := slices.Clone(good)
			data[i] ^= byte(change)
			if askForged(t, sealed(data), hosts...) {
				taken++
			}
		}
	}
	if taken == 0 {
		t.Error("nothing was taken: the checksum of the test is wrong")
	}
}

// askForged asks what data holds, if it is taken. What is taken is written as it was.
func askForged(t *testing.T, data []byte, hosts ...string) bool {
	t.Helper()
	d, err := read(data)
	if err != nil {
		if d != nil || !errors.Is(err, ErrBinary) {
			t.Errorf("%v and a set", err)
		}
		return false
	}
	for _, host := range hosts {
		d.Has(nameOf(host))
	}
	for range d.Patterns() {
	}
	if !bytes.Equal(binaryOf(t, d), data) {
		t.Errorf("%q is not what it was read from", binaryOf(t, d))
	}
	return true
}

// forged is a file of these parts.
func forged(h binaryHead, arena string, words ...uint64) []byte {
	data, _ := binary.Append([]byte(binaryMagic), binary.LittleEndian, h)
	data, _ = binary.Append(append(data, arena...), binary.LittleEndian, words)
	return sealed(append(data, 0, 0, 0, 0))
}

func TestHostileBinary(t *testing.T) {
	f := func(what string, ok bool, h binaryHead, arena string, words ...uint64) {
		t.Helper()
		if _, err := read(forged(h, arena, words...)); (err == nil) != ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	// One record, in one of two slots, and a filter of one word.
	h := binaryHead{Count: 1, Records: 1, Arena: 3, Slots: 2, Filter: 1}
	f("good", true, h, "\x01\x01a", 1<<32|1, 0, ^uint64(0))
	f("a record longer than the arena", false, h, "\x02\x01a", 1<<32|1, 0, 0)
	f("no slot of a record", false, h, "\x01\x01a", 0, 0, 0)
	f("no free slot", false, h, "\x01\x01a", 1<<32|1, 2<<32|1, 0)
	f("a slot behind the arena", false, h, "\x01\x01a", 4, 0, 0)
	f("a slot far behind the arena", false, h, "\x01\x01a", 0xffffffff, 0, 0)
	f("a slot at the last byte of the arena", false, h, "\x01\x01a", 3, 0, 0)
	f("a slot of a record longer than the arena", false, h, "\x01\x02a", 2, 0, 0)
	f("a slot before the arena", false, h, "\x01\x01a", 1<<32, 0, 0)
	h.Arena = 4
	f("half a record at the end", false, h, "\x01\x01a\x00", 1, 0, 0)
	h.Arena = 5
	f("a record more", false, h, "\x01\x01a\x00\x00", 1, 0, 0)
	h.Records, h.Slots = 2, 4
	f("a record less", false, h, "\x03\x01aaa", 1, 1, 0, 0, 0)
	// Nothing at all, in a slot or in none.
	f("nothing", true, binaryHead{Slots: 1, Filter: 1}, "", 0, 0)
	f("no slots", false, binaryHead{Filter: 1}, "", 0)
	f("no filter", false, binaryHead{Slots: 1}, "", 0)
	f("three slots", false, binaryHead{Slots: 3, Filter: 1}, "", 0, 0, 0, 0)
	f("three words of filter", false, binaryHead{Slots: 1, Filter: 3}, "", 0, 0, 0, 0)
	f("a root of two bytes", false, binaryHead{Slots: 1, Filter: 1, Root: 256}, "", 0, 0)
	f("too many to be counted", false, binaryHead{Slots: 1, Filter: 1, Count: 1 << 31}, "", 0, 0)
	f("as many records as slots", false, binaryHead{Records: 1, Arena: 3, Slots: 1, Filter: 1}, "\x01\x01a", 1, 0)
}

func TestHeadFits(t *testing.T) {
	h := binaryHead{Count: 1<<31 - 1, Records: 7, Arena: 40, Slots: 8, Filter: 4, Root: 255}
	const all = 40 + 8*8 + 8*4
	if !h.fits(all) || h.fits(all-1) {
		t.Errorf("%+v fits into %d bytes: %v, into %d: %v", h, all, h.fits(all), all-1, h.fits(all-1))
	}
	for _, few := range []binaryHead{{Slots: 1 << 10, Filter: 1}, {Slots: 1, Filter: 1 << 10}, {Arena: 1 << 13, Slots: 1, Filter: 1}} {
		if few.fits(1 << 13) {
			t.Errorf("%+v fits into all but its last part", few)
		}
	}
}

// TestGreedyBinary announces more than there is: no room is made for it.
func TestGreedyBinary(t *testing.T) {
	for _, n := range []uint64{1 << 30, 1 << 40, 1 << 61, 1 << 62, 1 << 63} {
		for i, h := range []binaryHead{
			{Arena: n, Slots: 1, Filter: 1},
			{Slots: n, Filter: 1},
			{Slots: 1, Filter: n},
			{Arena: n, Slots: n, Filter: n},
			{Arena: n - 1, Slots: n, Filter: n, Records: n - 1},
		} {
			data := forged(h, "\x01\x01a", make([]uint64, 512)...)
			for _, size := range []int64{int64(len(data)), 0, -1} {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := ReadBinary(bytes.NewReader(data), size)
				runtime.ReadMemStats(&after)
				if !errors.Is(err, ErrBinary) || after.TotalAlloc-before.TotalAlloc > 1<<16 {
					t.Errorf("head %d with %d, of %d bytes: %v, %d bytes of room",
						i, n, size, err, after.TotalAlloc-before.TotalAlloc)
				}
			}
		}
	}
}

// fullDisk takes so many bytes and no more.
type fullDisk struct{ room int }

var errFull = errors.New("full")

func (w *fullDisk) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriteBinaryErrors(t *testing.T) {
	good := sample(t)
	d, err := read(good)
	if err != nil {
		t.Fatal(err)
	}
	for room := range good {
		if err := d.WriteBinary(&fullDisk{room}); !errors.Is(err, errFull) {
			t.Fatalf("with room for %d bytes of %d: %v", room, len(good), err)
		}
	}
	for _, l := range []list{{keywords: []string{"a"}}, {regexes: []*regexp.Regexp{regexp.MustCompile("a")}}} {
		d := l.build(t, rand.New(rand.NewPCG(1, 1)))
		if err := d.WriteBinary(io.Discard); err == nil {
			t.Errorf("%+v was written", l)
		}
	}
}
