package upgrade

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/blake2b"

	"github.com/switchyard-proxy/switchyard/relay/minisign"
)

// server is a server of releases, by path.
type server map[string][]byte

var secret = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func testKey(t *testing.T) minisign.Key {
	t.Helper()
	key, err := minisign.ParseKey(base64.StdEncoding.EncodeToString([]byte("Ed12345678" + string(secret.Public().(ed25519.PublicKey)))))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sums signs a list with a comment.
func (s server) sums(channel, list, comment string) {
	hash := blake2b.Sum512([]byte(list))
	of := ed25519.Sign(secret, hash[:])
	all := ed25519.Sign(secret, append(bytes.Clone(of), comment...))
	s[channel+"/SHA256SUMS"] = []byte(list)
	s[channel+"/SHA256SUMS.minisig"] = fmt.Appendf(nil, "untrusted comment: x\n%s\ntrusted comment: %s\n%s\n",
		base64.StdEncoding.EncodeToString([]byte("ED12345678"+string(of))), comment, base64.StdEncoding.EncodeToString(all))
}

func (s server) get(_ context.Context, url string, limit int64) ([]byte, error) {
	b, ok := s[strings.TrimPrefix(url, "https://releases.test/dl/")]
	switch {
	case !ok:
		return nil, errors.New("404 Not Found")
	case int64(len(b)) > limit:
		return nil, errors.New("too large")
	}
	return b, nil
}

func line(b []byte, name string) string { return fmt.Sprintf("%x  %s\n", sha256.Sum256(b), name) }

func TestFind(t *testing.T) {
	s := make(server)
	program := []byte("program")
	for channel, version := range map[string]string{Release: "v1.2.0", Alpha: "v1.3.0-alpha.2"} {
		s[channel+"/switchyard-linux-amd64"] = []byte(channel)
		s.sums(channel, line(program, "switchyard-linux-arm64")+line([]byte(channel), "switchyard-linux-amd64"), "timestamp:1\tversion:"+version)
	}
	f := func(channel, running string, force bool, want string) {
		t.Helper()
		p, err := Find(t.Context(), &Request{
			URL: "https://releases.test/dl/", Key: testKey(t), Channel: channel, Version: running, Force: force,
			OS: "linux", Arch: "amd64", Get: s.get,
		})
		got := fmt.Sprint(err)
		if err == nil {
			got = p.Version + " " + string(p.Data)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s from %s: %s; want %s", channel, running, got, want)
		}
	}
	const release, alpha = "v1.2.0 release", "v1.3.0-alpha.2 alpha"
	f(Release, "v1.1.9", false, release)
	f("", "v1.1.9", false, release)
	f(Auto, "v1.2.0-rc.1", false, alpha)
	f(Alpha, "v1.2.0", false, alpha)
	f(Auto, "deadbeef", false, release) // nobody can say which is newer
	f(Auto, "v1.2.0", false, ErrCurrent.Error())
	f(Auto, "v1.2.0+build", false, ErrCurrent.Error())
	f(Auto, "v1.2.0", true, release)
	f(Alpha, "v1.3.0-alpha.10", false, "is older than")
	f(Alpha, "v1.3.0-alpha.10", true, alpha)
	f(Alpha, "v1.3.0", false, "is older than")

	s.sums(Release, line(program, "switchyard-linux-arm64"), "version:v1.3.0")
	f(Release, "v1.2.0", false, "does not list switchyard-linux-amd64")
	s.sums(Release, "zz  switchyard-linux-amd64\n", "version:v1.3.0")
	f(Release, "v1.2.0", false, "no SHA-256 sum")
	s.sums(Release, line(program, "switchyard-linux-amd64"), "version:v1.3.0 channel:alpha")
	f(Release, "v1.2.0", false, "another channel")
	s.sums(Release, line(program, "switchyard-linux-amd64"), "timestamp:1")
	f(Release, "v1.2.0", true, "no version")
	s.sums(Release, line(program, "switchyard-linux-amd64"), "version:v1.3.0")
	f(Release, "v1.2.0", false, "not the one that is signed")
	delete(s, "release/SHA256SUMS.minisig")
	f(Release, "v1.2.0", false, "404")

	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(program)
	_ = w.Close()
	s["release/switchyard-linux-amd64.gz"] = z.Bytes()
	s.sums(Release, fmt.Sprintf("%x *switchyard-linux-amd64.gz\n", sha256.Sum256(z.Bytes())), "version:v1.3.0")
	f(Release, "v1.2.0", false, "v1.3.0 program")
	s["release/switchyard-linux-amd64.gz"] = program
	s.sums(Release, line(program, "switchyard-linux-amd64.gz"), "version:v1.3.0")
	f(Release, "v1.2.0", false, "decompress")
}

func TestSteps(t *testing.T) {
	_, err := Find(t.Context(), &Request{URL: "https://releases.test/dl", Key: testKey(t), Get: make(server).get})
	var step *StepError
	if !errors.As(err, &step) || step.FailedStep() != "download" {
		t.Error(err)
	}
	s := make(server)
	s.sums(Release, "", "version:v1")
	_, err = Find(t.Context(), &Request{URL: "https://releases.test/dl", Get: s.get})
	if !errors.As(err, &step) || step.FailedStep() != "verify" || !errors.Is(err, minisign.ErrWrong) {
		t.Error(err)
	}
}

func TestCompare(t *testing.T) {
	// Each is older than the next (Semantic Versioning 2.0.0, 11).
	ordered := strings.Fields(`v1.0.0-alpha v1.0.0-alpha.1 v1.0.0-alpha.beta v1.0.0-beta v1.0.0-beta.2 v1.0.0-beta.11
		v1.0.0-rc.1 v1.0.0 v1.0.1 v1.2.0 v1.10.0 v2.0.0`)
	for i, a := range ordered {
		for j, b := range ordered {
			if got, known := compare(a, b); !known || got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%s, %s: %d, %v", a, b, got, known)
			}
		}
	}
	for _, bad := range []string{"", "v", "1.0.0", "v1.0", "v1.0.x", "v1.0.0.0", "latest"} {
		if _, known := compare(bad, "v1.0.0"); known {
			t.Errorf("%q is a version", bad)
		}
	}
}

func TestInstall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	is := func(name, want string) {
		t.Helper()
		if b, err := os.ReadFile(name); string(b) != want || want == "" && err == nil {
			t.Errorf("%s: %q, %v; want %q", filepath.Base(name), b, err, want)
		}
	}
	if err := os.WriteFile(path, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	next, err := Write(path, []byte("never used"))
	if err != nil {
		t.Fatal(err)
	}
	// What an earlier try has left, a link too, is not followed.
	if err := errors.Join(os.Remove(next), os.Symlink(path, next)); err != nil {
		t.Fatal(err)
	}
	if next, err = Write(path, []byte("two")); err != nil {
		t.Fatal(err)
	}
	is(path, "one")
	if st, err := os.Lstat(next); err != nil || st.Mode() != 0o755 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	back, err := Swap(path, next)
	if err != nil {
		t.Fatal(err)
	}
	is(path, "two")
	is(path+".old", "one")
	is(next, "")
	if err := back(); err != nil {
		t.Fatal(err)
	}
	is(path, "one")
	is(path+".old", "")
	if _, err := Swap(path, next); err == nil {
		t.Error("there was nothing to put there")
	}
	is(path, "one")
	is(path+".old", "")
}

// TestInstallKeeps: a program keeps its mode, also where files have one name each.
func TestInstallKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := errors.Join(os.WriteFile(path, []byte("one"), 0o700), os.Chmod(path, 0o750)); err != nil {
		t.Fatal(err)
	}
	next, err := Write(path, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	old := path + ".old"
	if err := keep(path, old, func(string, string) error { return errors.ErrUnsupported }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{next, old} {
		if st, err := os.Lstat(name); err != nil || st.Mode() != 0o750 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if b, err := os.ReadFile(old); string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
}

// FuzzChoose reads lists of sums.
func FuzzChoose(f *testing.F) {
	f.Add([]byte(line(nil, "a") + line([]byte("x"), "a.gz")))
	f.Fuzz(func(t *testing.T, sums []byte) {
		file, sum, err := choose(sums, "a")
		if err == nil && (file != "a" && file != "a.gz" || len(sum) != sha256.Size) {
			t.Errorf("%q, %x", file, sum)
		}
	})
}
