package ruleset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

const (
	minDecoded = 16 << 20 // what every file may hold,
	maxRatio   = 64       // and else so many bytes for each of its own,
	maxDecoded = 256 << 20
	minWindow  = 32 << 20 // of zstd; the decoder holds one, as large as the file claims
	maxWindow  = 64 << 20
	maxGrow    = 64 << 20 // bytes of room before there are names for it
	maxCount   = 1 << 30  // rules that a header can claim
	mrsVersion = 1        // of either body
)

// minNames is how long the names of a file may be together, or as long as what is in the file may be:
// names that begin alike share their beginning there, and nowhere else. Each counts nameCost bytes more
// than it has.
const (
	minNames = 96 << 20
	nameCost = 16
)

var (
	mrsMagic = []byte{'M', 'R', 'S', 1}
	errShort = errors.New("mrs: the file ends too soon, or a length in it is wrong")

	errManyNames = errors.New("mrs: the names are much longer together than the file")
)

// openMRS returns what stands behind the header of a file, and the number of rules the file was made
// from. The behaviour must be b.
func openMRS(data []byte, b Behavior) (body *fields, count int64, err error) {
	data, err = decompress(data, decodedLimit(len(data)))
	if err != nil {
		return nil, 0, fmt.Errorf("mrs: %w", err)
	}
	f := &fields{rest: data}
	if !bytes.Equal(f.take(len(mrsMagic)), mrsMagic) {
		return nil, 0, fmt.Errorf("mrs: %w", zstd.ErrMagicMismatch)
	}
	if is := Behavior(f.byte()); f.err == nil && is != b {
		return nil, 0, fmt.Errorf("mrs: this is a set of behavior %v, not %v", is, b)
	}
	count = f.int64()
	extra := f.int64()
	if extra < 0 || extra > int64(len(f.rest)) {
		return nil, 0, errShort
	}
	f.take(int(extra))
	if version := f.byte(); f.err == nil && version != mrsVersion {
		return nil, 0, fmt.Errorf("mrs: version %d of a set, want %d", version, mrsVersion)
	}
	return f, count, f.err
}

// isLen says whether a set with so many entries can have been made from count lines.
func isLen(count int64, entries int) bool {
	return entries > 0 && count >= int64(entries) && count <= maxCount
}

// decodedLimit is how many bytes may be in a file of so many bytes.
func decodedLimit(size int) int {
	return min(max(minDecoded, maxRatio*min(size, maxDecoded)), maxDecoded)
}

// decompress returns up to limit bytes, and an error where there are more. It holds one and a half
// times the limit at most, and the window.
func decompress(data []byte, limit int) ([]byte, error) {
	d, err := zstd.NewReader(bytes.NewReader(data),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(max(limit, minWindow))), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	out := make([]byte, 0, room(limit, sizeHint(data, limit)))
	for {
		if len(out) == cap(out) {
			var next [1]byte
			if _, err := io.ReadFull(d, next[:]); err == io.EOF {
				return out, nil
			} else if err != nil {
				return nil, err
			}
			if len(out) == limit {
				return nil, fmt.Errorf("more than %d bytes are in it", limit)
			}
			out = append(append(make([]byte, 0, room(limit, len(out)+1)), out...), next[0])
		}
		n, err := d.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// room is a size for n bytes or more: the limit, halved as often as it can be. So the buffer before
// the largest is half as large.
func room(limit, n int) int {
	size := limit
	for size/2 >= max(n, 1) {
		size /= 2
	}
	return size
}

// sizeHint is what a file says of its size or, where it says nothing, a guess.
func sizeHint(data []byte, limit int) int {
	var h zstd.Header
	if err := h.Decode(data); err == nil && h.HasFCS {
		return int(min(h.FrameContentSize, uint64(limit)))
	}
	return min(2*len(data), limit)
}

// fields takes the values of a file one after the other. Behind the first that is not all there,
// every value is zero and err is set.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		f.rest, f.err = nil, errShort
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) int64() int64 {
	if b := f.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// array takes a length and as many items of so many bytes each.
func (f *fields) array(size int) []byte {
	n := f.int64()
	if n < 1 || n > int64(len(f.rest)/size) {
		f.rest, f.err = nil, errShort
		return nil
	}
	return f.take(int(n) * size)
}

func (r *domainReader) readMRS(data []byte) error {
	f, count, err := openMRS(data, Domain)
	if err != nil {
		return err
	}
	return r.readTrie(f, count, max(minNames, decodedLimit(len(data))))
}

// readTrie reads the body of a file that was made from count lines, and whose names may have so many
// bytes.
func (r *domainReader) readTrie(f *fields, count int64, left int) error {
	t := trie{leaves: f.array(8), bitmap: f.array(8), labels: f.array(1)}
	if f.err != nil {
		return f.err
	}
	r.set.Grow(0, min(2*len(t.labels), maxGrow)) // names share about half of their bytes
	n := 0
	err := t.walk(func(pattern []byte) error {
		if left -= len(pattern) + nameCost; left < 0 {
			return errManyNames
		}
		n++
		r.add(n, forward(pattern))
		return nil
	})
	if err != nil {
		return err
	}
	if isLen(count, r.set.Len()) {
		r.set.SetLen(int(count))
	}
	return nil
}

// forward undoes the reversal of a name whose writer reversed characters where we reverse bytes.
func forward(name []byte) []byte {
	if utf8.Valid(name) {
		return name
	}
	for i := 0; i < len(name); {
		end := i + 1 // the first byte of a character now stands at its end
		for end < len(name) && !utf8.RuneStart(name[end-1]) {
			end++
		}
		slices.Reverse(name[i:end])
		i = end
	}
	return name
}

func (r *prefixReader) readMRS(data []byte) error {
	f, count, err := openMRS(data, IPCIDR)
	if err != nil {
		return err
	}
	return r.readRanges(f, count)
}

// readRanges reads the body of a file that was made from count lines.
func (r *prefixReader) readRanges(f *fields, count int64) error {
	ranges := f.array(32)
	if f.err != nil {
		return f.err
	}
	for n := 1; len(ranges) > 0; n++ {
		first, last := netip.AddrFrom16([16]byte(ranges)), netip.AddrFrom16([16]byte(ranges[16:]))
		if !r.set.AddRange(first, last) {
			r.warnings.Add(n, fmt.Appendf(nil, "%v-%v", first, last), errRange)
		}
		ranges = ranges[32:]
	}
	if isLen(count, r.set.Len()) {
		r.set.SetLen(int(count))
	}
	return nil
}

var errRange = errors.New("want the first and the last address of a range")
