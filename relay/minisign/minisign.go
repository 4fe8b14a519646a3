// Package minisign verifies signatures as the program minisign makes them: Ed25519, of a file or of its
// BLAKE2b-512 sum, with a comment that is signed too.
package minisign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/blake2b"
)

// maxSignature bounds the text of a signature, in bytes.
const maxSignature = 16 << 10

const (
	keySize = 8
	// What the texts begin with.
	untrusted = "untrusted comment:"
	trusted   = "trusted comment: "
)

// ErrWrong means that a signature is not that of the key, or not of the data.
var ErrWrong = errors.New("the signature is not right")

// Key is a public key.
type Key struct {
	id  [keySize]byte
	key ed25519.PublicKey
}

// ParseKey reads a public key: the file that minisign writes, or the line of it that begins with RW.
func ParseKey(text string) (Key, error) {
	line := strings.TrimSpace(text)
	if strings.HasPrefix(line, untrusted) {
		_, line, _ = strings.Cut(line, "\n")
		line = strings.TrimSpace(line)
	}
	b, err := decode(line, 2+keySize+ed25519.PublicKeySize)
	if err != nil || string(b[:2]) != "Ed" {
		return Key{}, errors.New("want a public key of minisign, which begins with RW")
	}
	return Key{id: [keySize]byte(b[2:]), key: ed25519.PublicKey(b[2+keySize:])}, nil
}

// Signature is what a file of minisign says.
type Signature struct {
	Comment string // is signed: the trusted comment
	hashed  bool
	id      [keySize]byte
	of      [ed25519.SignatureSize]byte // the data, or its sum
	ofAll   [ed25519.SignatureSize]byte // of and Comment
}

// Parse reads the file of a signature.
func Parse(text []byte) (*Signature, error) {
	if len(text) > maxSignature {
		return nil, fmt.Errorf("a signature of more than %d bytes", maxSignature)
	}
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], untrusted) || !strings.HasPrefix(lines[2], trusted) {
		return nil, errors.New("not a signature of minisign")
	}
	s := &Signature{Comment: strings.TrimPrefix(lines[2], trusted)}
	b, err := decode(lines[1], 2+keySize+ed25519.SignatureSize)
	if err != nil {
		return nil, fmt.Errorf("the second line of a signature: %w", err)
	}
	switch string(b[:2]) {
	case "ED":
		s.hashed = true
	case "Ed":
	default:
		return nil, errors.New("a signature of another algorithm")
	}
	s.id, s.of = [keySize]byte(b[2:]), [ed25519.SignatureSize]byte(b[2+keySize:])
	if b, err = decode(lines[3], ed25519.SignatureSize); err != nil {
		return nil, fmt.Errorf("the last line of a signature: %w", err)
	}
	s.ofAll = [ed25519.SignatureSize]byte(b)
	return s, nil
}

// decode reads one line of base64 that stands for n bytes.
func decode(line string, n int) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil || len(b) != n || strings.ContainsAny(line, "\r\n") {
		return nil, fmt.Errorf("want %d bytes in base64", n)
	}
	return b, nil
}

// Verify checks that k has signed data, and the comment of s.
func (k Key) Verify(data []byte, s *Signature) error {
	if k.key == nil {
		return fmt.Errorf("%w: there is no key", ErrWrong)
	}
	if k.id != s.id {
		return fmt.Errorf("%w: it was made with another key", ErrWrong)
	}
	if s.hashed {
		sum := blake2b.Sum512(data)
		data = sum[:]
	}
	if !ed25519.Verify(k.key, data, s.of[:]) {
		return fmt.Errorf("%w: what is signed is something else", ErrWrong)
	}
	if !ed25519.Verify(k.key, append(bytes.Clone(s.of[:]), s.Comment...), s.ofAll[:]) {
		return fmt.Errorf("%w: its comment is another", ErrWrong)
	}
	return nil
}
