package track

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
)

// ID names a flow for as long as the daemon lives. It is spelled as a version 4 UUID, of which a
// counter is the last part, so that no flow waits for random bytes.
type ID struct {
	seq  uint64
	boot *[10]byte
}

// String spells the id as the API does.
func (id ID) String() string { return string(id.Append(make([]byte, 0, 36))) }

// Append appends the id as String spells it.
func (id ID) Append(b []byte) []byte {
	if id.boot == nil {
		return append(b, "00000000-0000-4000-8000-000000000000"...)
	}
	var u [16]byte
	copy(u[:], id.boot[:])
	binary.BigEndian.PutUint64(u[8:], id.seq|uint64(id.boot[8]|0x80)<<56&0xbf00000000000000)
	u[6] = u[6]&0x0f | 0x40
	n := len(b)
	b = append(b, "00000000-0000-4000-8000-000000000000"...)
	s := b[n:]
	hex.Encode(s[0:8], u[0:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:36], u[10:16])
	return b
}

// source makes ids.
type source struct {
	boot *[10]byte
	seq  *atomic.Uint64
}

func newSource() source {
	s := source{boot: new([10]byte), seq: new(atomic.Uint64)}
	_, _ = rand.Read(s.boot[:]) // never fails
	return s
}

func (s source) next() ID { return ID{seq: s.seq.Add(1), boot: s.boot} }

// parse reads an id that this source has made.
func (s source) parse(text string) (ID, bool) {
	if len(text) != 36 {
		return ID{}, false
	}
	var u [16]byte
	plain := make([]byte, 0, 32)
	for i := 0; i < len(text); i++ {
		if text[i] != '-' {
			plain = append(plain, text[i])
		}
	}
	if len(plain) != 2*len(u) {
		return ID{}, false
	}
	if _, err := hex.Decode(u[:], plain); err != nil {
		return ID{}, false
	}
	id := ID{seq: binary.BigEndian.Uint64(u[8:]) & (1<<56 - 1), boot: s.boot}
	return id, id.String() == text
}
