package minisign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/blake2b"
)

// pair is a key pair of the tests.
type pair struct {
	id     string
	secret ed25519.PrivateKey
}

func newPair(id string, seed byte) pair {
	return pair{id, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
}

func encode(b ...string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Join(b, "")))
}

func (p pair) public() string {
	return encode("Ed", p.id, string(p.secret.Public().(ed25519.PublicKey)))
}

// sign makes the file of a signature.
func (p pair) sign(data []byte, comment string, hashed bool) []byte {
	kind := "Ed"
	if hashed {
		sum := blake2b.Sum512(data)
		kind, data = "ED", sum[:]
	}
	of := ed25519.Sign(p.secret, data)
	all := ed25519.Sign(p.secret, append(bytes.Clone(of), comment...))
	return fmt.Appendf(nil, "untrusted comment: x\n%s\ntrusted comment: %s\n%s\n", encode(kind, p.id, string(of)), comment, encode(string(all)))
}

func TestVerify(t *testing.T) {
	ours, theirs := newPair("key-0001", 1), newPair("key-0002", 2)
	key, err := ParseKey("untrusted comment: minisign public key\n" + ours.public() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if bare, err := ParseKey(ours.public()); err != nil || bare.id != key.id || !bytes.Equal(bare.key, key.key) {
		t.Errorf("%v, %v", bare, err)
	}
	data := []byte("what is signed")
	f := func(name string, text []byte, want string) {
		t.Helper()
		s, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = key.Verify(data, s)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrWrong) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
	for _, hashed := range []bool{false, true} {
		good := ours.sign(data, "version:v1", hashed)
		f("good", good, "")
		f("Windows", bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), "")
		f("another comment", bytes.Replace(good, []byte("version:v1"), []byte("version:v2"), 1), "its comment is another")
		f("other data", ours.sign([]byte("else"), "version:v1", hashed), "what is signed is something else")
		f("another key", theirs.sign(data, "version:v1", hashed), "another key")
		f("another key of that name", pair{ours.id, theirs.secret}.sign(data, "", hashed), "something else")
		// The kinds are not the same: a sum that was signed as a file is not the file.
		other := bytes.Clone(good)
		at := bytes.IndexByte(other, '\n') + 1
		copy(other[at:], encode("Ed", ours.id)[:3])
		if !hashed {
			copy(other[at:], encode("ED", ours.id)[:3])
		}
		f("another kind", other, "something else")
	}
	if err := (Key{}).Verify(data, &Signature{}); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
}

func TestMalformed(t *testing.T) {
	p := newPair("key-0001", 1)
	for _, key := range []string{
		"", "RW", p.public()[:50], p.public() + "AA", "untrusted comment: x", encode("ED", p.id, strings.Repeat("x", 32)),
		encode("Ed", p.id, strings.Repeat("x", 31)), p.public() + "\n" + p.public(),
	} {
		if _, err := ParseKey(key); err == nil {
			t.Errorf("the key %q is one", key)
		}
	}
	good := string(p.sign([]byte("x"), "c", true))
	lines := strings.Split(good, "\n")
	for _, text := range []string{
		"", "\n\n\n\n", good + good, strings.Join(lines[1:], "\n"), strings.Join(lines[:3], "\n"),
		strings.Replace(good, "trusted", "other", 2), strings.Replace(good, lines[1], encode("EX", p.id, strings.Repeat("x", 64)), 1),
		strings.Replace(good, lines[1], lines[3], 1), strings.Replace(good, lines[3], lines[1], 1),
		strings.Replace(good, lines[1], lines[1][:8]+"\r"+lines[1][8:], 1), strings.Repeat("x", maxSignature+1),
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is a signature", text)
		}
	}
}

// TestProgram reads what the program itself makes.
func TestProgram(t *testing.T) {
	if _, err := exec.LookPath("minisign"); err != nil {
		t.Skip("no minisign")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("minisign", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("minisign %v: %v\n%s", args, err, out)
		}
	}
	data := []byte("a file\n")
	if err := os.WriteFile(filepath.Join(dir, "f"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	run("-G", "-W", "-p", "key.pub", "-s", "key")
	public, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(string(public))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"-H", "-l"} {
		run("-S", kind, "-W", "-s", "key", "-m", "f", "-t", "version:v1.2.3")
		text, err := os.ReadFile(filepath.Join(dir, "f.minisig"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(text)
		if err != nil || s.Comment != "version:v1.2.3" || s.hashed != (kind == "-H") {
			t.Fatalf("%s: %+v, %v", kind, s, err)
		}
		if err := key.Verify(data, s); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := key.Verify(append(data, 'x'), s); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// FuzzParse: whatever is read without an error verifies with nothing that was not signed.
func FuzzParse(f *testing.F) {
	p := newPair("key-0001", 1)
	f.Add(p.sign([]byte("x"), "c", true))
	f.Add(p.sign([]byte("x"), "c", false))
	f.Add([]byte("untrusted comment:\n\ntrusted comment: \n\n"))
	key, err := ParseKey(p.public())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := ParseKey(string(text)); err == nil && len(text) < 56 {
			t.Errorf("%q is a key", text)
		}
		s, err := Parse(text)
		if err != nil {
			return
		}
		if key.Verify([]byte("never signed"), s) == nil {
			t.Errorf("%q signs it", text)
		}
	})
}
