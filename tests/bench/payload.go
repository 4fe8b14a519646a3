//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// Streams between load and origin are requests and answers, one after the other. A request is a
// byte that says what is asked, and a length in eight bytes:
//
//	'd' length   the origin answers with length bytes of the pattern
//	'u' length   length bytes of the pattern follow; the origin answers with the length
//	'e' length   length bytes follow; the origin answers with the whole request
const (
	askDown    = 'd'
	askUp      = 'u'
	askEcho    = 'e'
	headerSize = 9
	echoLimit  = 1 << 16
)

// The pattern repeats after a prime number of bytes, so that a lost or doubled block of any
// usual size shows.
const (
	period = 1_000_003
	chunk  = 256 << 10
)

// pattern is what bulk streams carry: a period and one chunk more, so that a chunk from any
// offset is one slice.
type pattern []byte

func newPattern() pattern {
	p := make(pattern, period+chunk)
	_, _ = rand.NewChaCha8([32]byte{}).Read(p[:period])
	copy(p[period:], p)
	return p
}

// at returns up to a chunk of what belongs at offset, left bytes at most.
func (p pattern) at(offset, left int64) []byte {
	return p[offset%period:][:min(left, chunk)]
}

// send writes the first n bytes of the pattern.
func (p pattern) send(w io.Writer, n int64) error {
	for sent := int64(0); sent < n; {
		k, err := w.Write(p.at(sent, n-sent))
		sent += int64(k)
		if err != nil {
			return err
		}
	}
	return nil
}

// receive reads n bytes and compares them with the pattern. It reads with b, of a chunk at most.
func (p pattern) receive(r io.Reader, n int64, b []byte) error {
	for got := int64(0); got < n; {
		k, err := r.Read(b[:min(n-got, int64(len(b)))])
		if !bytes.Equal(b[:k], p.at(got, int64(k))) {
			return fmt.Errorf("wrong payload between bytes %d and %d", got, got+int64(k))
		}
		got += int64(k)
		if err != nil && got < n {
			return fmt.Errorf("after %d of %d bytes: %w", got, n, err)
		}
	}
	return nil
}

func header(ask byte, n int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{ask}, uint64(n))
}
