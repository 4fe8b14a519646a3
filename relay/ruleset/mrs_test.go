package ruleset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// fileOf compresses a file as a stranger would.
func fileOf(tb testing.TB, parts ...any) []byte {
	tb.Helper()
	var file []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			file = append(file, p...)
		case []byte:
			file = append(file, p...)
		case int:
			file = binary.BigEndian.AppendUint64(file, uint64(p))
		case uint64:
			file = binary.BigEndian.AppendUint64(file, p)
		}
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		tb.Fatal(err)
	}
	return enc.EncodeAll(file, nil)
}

func TestMRSRefuses(t *testing.T) {
	f := func(want string, data []byte) {
		t.Helper()
		_, _, err := ReadDomains(data, MRS)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	const magic = "MRS\x01"
	const badMagic = "invalid input: magic number mismatch"
	f(badMagic, []byte("payload:\n- a\n"))
	f(badMagic, []byte("<html>"))
	f(badMagic, fileOf(t, "MRS\x02", "\x00", 1, 0, "\x01"))
	f(badMagic, fileOf(t, "MR"))
	f(badMagic, nil)
	good := mrsOf(t, Domain, textOf(manyNames(1000)))
	f("EOF", good[:len(good)/2])
	f("mrs: ", slices.Concat(good[:100], []byte("x"), good[101:]))
	f("this is a set of behavior ipcidr, not domain", mrsOf(t, IPCIDR, []byte("10.0.0.0/8")))
	f("this is a set of behavior classical, not domain", fileOf(t, magic, "\x02", 1, 0, "\x01"))
	f("this is a set of behavior unknown, not domain", fileOf(t, magic, "\x07", 1, 0, "\x01"))
	f("version 2", fileOf(t, magic, "\x00", 1, 0, "\x02"))
	// Lengths are those of what is there.
	const short = "ends too soon"
	f(short, fileOf(t, magic))
	f(short, fileOf(t, magic, "\x00", 1, 0))
	f(short, fileOf(t, magic, "\x00", 1, 1<<62, "\x01"))
	f(short, fileOf(t, magic, "\x00", 1, -1, "\x01"))
	f(short, fileOf(t, magic, "\x00", 1, 0, "\x01", 1<<60, 2))
	f(short, fileOf(t, magic, "\x00", 1, 0, "\x01", -1, 2))
	f(short, fileOf(t, magic, "\x00", 1, 0, "\x01", 0, 1, 2, 1, "a"))
	f(short, fileOf(t, magic, "\x00", 1, 0, "\x01", 1, 2, 1, 6, 2, "a"))
	// A tree has a 1 for each node, no label twice, and no node that is not below the root.
	const noTree = "no tree"
	f(noTree, fileOf(t, magic, "\x00", 1, 0, "\x01", 1, 2, 1, 0b10, 1, "a"))
	f(noTree, fileOf(t, magic, "\x00", 1, 0, "\x01", 1, 2, 1, 0b1110, 1, "a"))
	f(noTree, fileOf(t, magic, "\x00", 1, 0, "\x01", 1, 2, 1, 0b0101, 1, "a"))
	f(noTree, fileOf(t, magic, "\x00", 1, 0, "\x01", 1, 2, 1, 0b11100, 2, "aa"))
	f(noTree, fileOf(t, magic, "\x00", 1, 0, "\x01", 1, 6, 1, 0b11001, 2, "ab"))
	// Names have an end.
	long := strings.Repeat("a", 300)
	bitmap := make([]uint64, 10)
	for i := range bitmap {
		bitmap[i] = 0xaaaaaaaaaaaaaaaa // the end of the parent, a child
	}
	parts := []any{magic, "\x00", 1, 0, "\x01", 1, 0, len(bitmap)}
	for i, w := range bitmap {
		if i == 600/64 {
			w = 0xaaaaaaaaaaaaaaaa&(1<<(600%64)-1) | 1<<(600%64)
		}
		parts = append(parts, w)
	}
	f("longer than 255 bytes", fileOf(t, append(parts, len(long), long)...))
}

func TestMRSDomains(t *testing.T) {
	const magic = "MRS\x01"
	f := func(count int, keys []string, want string) {
		t.Helper()
		for i, k := range keys {
			keys[i] = reverse(k)
		}
		slices.Sort(keys)
		var w trieWriter
		w.build(keys)
		set, warnings, err := ReadDomains(fileOf(t, magic, "\x00", count, 3, "any", "\x01", w.body(), "more"), MRS)
		if err != nil || warnings.Total != 0 {
			t.Fatal(warnings, err)
		}
		if got := strings.Join(patterns(set), " "); got != want {
			t.Errorf("%q: got %s, want %s", keys, got, want)
		}
		if n := len(patterns(set)); set.Len() != n && set.Len() != count {
			t.Errorf("%q: Len is %d, %d were claimed", keys, set.Len(), count)
		}
	}
	f(1, []string{"a.test"}, "a.test")
	f(1, []string{"a.test", "+.a.test"}, "+.a.test")
	f(1, []string{"+.a.test"}, ".a.test")
	f(1, []string{"a", "+.a"}, "+.a")
	f(2, []string{"*.a.test", "b.*"}, "*.a.test b.*")
	f(1, []string{"*.a.test", "+.*.a.test"}, "+.*.a.test")
	// Between a name and the sign for what is below it, other names may stand.
	f(3, []string{"a.test", "x-a.test", "b.a.test", "+.a.test"}, "+.a.test b.a.test x-a.test")
	// The header says how many lines there were, unless that cannot be.
	f(9, []string{"a.test"}, "a.test")
	f(0, []string{"a.test"}, "a.test")
	f(-1, []string{"a.test"}, "a.test")
	f(1<<40, []string{"a.test"}, "a.test")
	// Names need not be as we write them.
	f(1, []string{"BÜCHER.example"}, "xn--bcher-kva.example")
	f(1, []string{string([]byte{'b', 0xbc, 0xc3, 'c', 'h', 'e', 'r', '.', 'd', 'e'})}, "xn--bcher-kva.de")

	set := readDomains(t, []byte("a.test\nA.test\n+.b.test\n"), Text)
	var out bytes.Buffer
	if err := WriteDomains(&out, set, MRS); err != nil {
		t.Fatal(err)
	}
	if set = readDomains(t, out.Bytes(), MRS); set.Len() != 3 || len(patterns(set)) != 2 {
		t.Errorf("Len is %d", set.Len())
	}
	// A name that is none is left out, and a file without any is an error.
	var w trieWriter
	w.build([]string{"a..a", "tset.a"})
	set, warnings, err := ReadDomains(fileOf(t, magic, "\x00", 2, 0, "\x01", w.body()), MRS)
	if err != nil || warnings.Total != 1 || warnings.First[0].Line != 1 {
		t.Fatal(warnings, err)
	}
	if got := patterns(set); !slices.Equal(got, []string{"a.test"}) {
		t.Error(got)
	}
	w = trieWriter{}
	w.build([]string{"a..a"})
	if _, _, err = ReadDomains(fileOf(t, magic, "\x00", 2, 0, "\x01", w.body()), MRS); err == nil {
		t.Error("a file without a name was read")
	}
}

func TestMRSPrefixes(t *testing.T) {
	const v4 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"
	const v6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	f := func(ranges ...string) (string, int) {
		t.Helper()
		file := fileOf(t, "MRS\x01\x01", 7, 0, "\x01", len(ranges), strings.Join(ranges, ""))
		set, warnings, err := ReadPrefixes(file, MRS)
		if err != nil {
			return err.Error(), warnings.Total
		}
		return asked(set), warnings.Total
	}
	const ten = v4 + "\x0a\x00\x00\x00" + v4 + "\x0a\x00\x00\xff"
	got, n := f(ten, v6+"\x00"+v6+"\x07")
	if n != 0 || got != "10.0.0.0-10.0.0.255 2001:db8::-2001:db8::7" {
		t.Error(got, n)
	}
	// Ranges that are turned round, or of both kinds, are left out.
	got, n = f(ten, v6+"\x07"+v6+"\x00", v4+"\x0a\x00\x00\x00"+v6+"\x00")
	if n != 2 || got != "10.0.0.0-10.0.0.255" {
		t.Error(got, n)
	}
	got, _ = f(v6 + "\x07" + v6 + "\x00")
	if !strings.HasPrefix(got, "none of the 1 entries can be used") {
		t.Error(got)
	}
	_, _, err := ReadPrefixes(fileOf(t, "MRS\x01\x01", 7, 0, "\x01", 2, v6+"\x00"+v6+"\x07"), MRS)
	if !errors.Is(err, errShort) {
		t.Error(err)
	}
	_, _, err = ReadPrefixes(mrsOf(t, Domain, []byte("a.test")), MRS)
	if err == nil || !strings.Contains(err.Error(), "this is a set of behavior domain, not ipcidr") {
		t.Error(err)
	}
}

// TestDecompressBounds reads files that are much larger than they look.
func TestDecompressBounds(t *testing.T) {
	bomb := fileOf(t, make([]byte, 1<<20))
	if data, err := decompress(bomb, 1<<20); err != nil || len(data) != 1<<20 {
		t.Fatal(len(data), err)
	}
	if _, err := decompress(bomb, 1<<20-1); err == nil || !strings.Contains(err.Error(), "more than 1048575 bytes") {
		t.Errorf("%d bytes: %v", len(bomb), err)
	}
	// Frames that claim a window of 128 MiB, and a content of 4 GiB.
	for _, frame := range []string{
		"\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00",
		"\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00",
	} {
		_, err := decompress([]byte(frame), 1<<20)
		if !errors.Is(err, zstd.ErrWindowSizeExceeded) && !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			t.Errorf("%x: %v", frame, err)
		}
	}
}

func TestDecodedLimit(t *testing.T) {
	f := func(size, want int) {
		t.Helper()
		if got := decodedLimit(size); got != want {
			t.Errorf("decodedLimit(%d) = %d; want %d", size, got, want)
		}
	}
	f(0, 16<<20)
	f(98<<10, 16<<20)
	f(1<<20, 64<<20)
	f(5<<20, 256<<20)
	f(1<<62, 256<<20)
	bomb := fileOf(t, "MRS\x01\x00", 1, 0, "\x01", make([]byte, 300<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := ReadDomains(bomb, MRS)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "bytes are in it") {
		t.Error(err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("%d bytes in memory for a file of %d", got, len(bomb))
	}
}

// TestMRSManyNames reads sets whose names are longer than the file, and much longer.
func TestMRSManyNames(t *testing.T) {
	f := func(n int, name string, want error) {
		t.Helper()
		names := make([]string, n)
		for i := range names {
			names[i] = reverse(fmt.Sprintf(name, i))
		}
		slices.Sort(names)
		var w trieWriter
		w.build(names)
		file := fileOf(t, "MRS\x01\x00", len(names), 0, "\x01", w.body())
		set, _, err := ReadDomains(file, MRS)
		if !errors.Is(err, want) || err == nil && set.Len() != len(names) {
			t.Errorf("%d bytes: %v", len(file), err)
		}
	}
	f(1_000_000, "host-%07d.a-rather-long-name.example.org", nil)
	f(420_000, "%06d."+strings.Repeat("a.", 115)+"org", errManyNames)
}

func TestTrie(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		set := readDomains(t, textOf(randomPatterns(r)), Text)
		var w trieWriter
		w.build(keysOf(set))
		f := fields{rest: w.body()}
		in := trie{leaves: f.array(8), bitmap: f.array(8), labels: f.array(1)}
		var got []string
		if err := in.walk(func(text []byte) error {
			got = append(got, string(text))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(got); !slices.Equal(got, patterns(set)) {
			t.Fatalf("got %q, want %q", got, patterns(set))
		}
	}
}
