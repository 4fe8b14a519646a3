package geo

import (
	"encoding/binary"
	"errors"
)

var (
	errCut  = errors.New("broken or cut short")
	errKind = errors.New("its entries are of another kind")
)

// The wire types of protobuf that still occur.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// field is a field of a protobuf message. It has a number or bytes, after its wire type; those of
// fixed size have neither, as we know of no such field.
type field struct {
	id     uint64
	wire   uint64
	number uint64
	bytes  []byte // a part of the message
}

// fields reads a message field by field, and never beyond its end.
type fields struct {
	rest []byte
	err  error
}

// next returns the next field; ok is false at the end and after an error.
func (r *fields) next() (f field, ok bool) {
	if len(r.rest) == 0 || r.err != nil {
		return f, false
	}
	tag := r.varint()
	f.id, f.wire = tag>>3, tag&7
	switch f.wire {
	case wireVarint:
		f.number = r.varint()
	case wireBytes:
		f.bytes = r.take(r.varint())
	case wireFixed64:
		r.take(8)
	case wireFixed32:
		r.take(4)
	default:
		r.err = errCut
	}
	if f.id == 0 {
		r.err = errCut
	}
	return f, r.err == nil
}

func (r *fields) varint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest, r.err = nil, errCut
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *fields) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, errCut
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}
