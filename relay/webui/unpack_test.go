package webui

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// tree lists the files below dir, and checks the mode of everything.
func tree(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		want := fileMode
		if d.IsDir() {
			want = dirMode | fs.ModeDir
		} else {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, filepath.ToSlash(rel))
		}
		if runtime.GOOS != "windows" && st.Mode() != want {
			t.Errorf("%s: %v", path, st.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func newSite(t *testing.T) *Site {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return New(filepath.Join(dir, "ui"), "")
}

// TestLayouts unpacks every way in which archives are made.
func TestLayouts(t *testing.T) {
	want := []string{"assets/app.js", "index.html"}
	for _, format := range []struct {
		name string
		make func(testing.TB, ...entry) []byte
	}{{"zip", makeZip}, {"tar.gz", makeTarGz}, {"tar", plainTar}} {
		f := func(entries ...entry) {
			t.Helper()
			s := newSite(t)
			if err := s.Replace(format.make(t, entries...)); err != nil {
				t.Errorf("%s: %v", format.name, err)
				return
			}
			if got := tree(t, s.Dir()); !slices.Equal(got, want) {
				t.Errorf("%s: %v", format.name, got)
			}
			if left, _ := os.ReadDir(filepath.Dir(s.Dir())); len(left) != 1 {
				t.Errorf("%s: beside it is %v", format.name, left)
			}
		}
		// Flat, and with a dot in front.
		f(pages("index.html", "assets/app.js")...)
		f(pages("./", "./index.html", "./assets/", "./assets/app.js")...)
		// In one directory, or in more of them, with and without their entries.
		f(pages("panel-gh-pages/", "panel-gh-pages/index.html", "panel-gh-pages/assets/", "panel-gh-pages/assets/app.js")...)
		f(pages("panel-gh-pages/index.html", "panel-gh-pages/assets/app.js")...)
		f(pages("a/b/index.html", "a/b/assets/app.js")...)
		// A directory may come after what is in it.
		f(pages("index.html", "assets/app.js", "assets/")...)
	}
}

// TestGlobalHeader unpacks what git archive makes.
func TestGlobalHeader(t *testing.T) {
	s := newSite(t)
	archive := pack(t, makeTar(t, []tar.Header{
		{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "c0ffee"}},
		{Typeflag: tar.TypeReg, Name: "p/index.html", Mode: 0o600},
	}, []string{"", "x"}))
	if err := s.Replace(archive); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, s.Dir()); !slices.Equal(got, []string{"index.html"}) {
		t.Error(got)
	}
}

// TestRefused shows that what is refused leaves the panel as it was, and nothing beside it.
func TestRefused(t *testing.T) {
	s := newSite(t)
	if err := s.Replace(makeZip(t, pages("index.html")...)); err != nil {
		t.Fatal(err)
	}
	home := filepath.Dir(s.Dir())
	check := func(archive []byte, want string) {
		t.Helper()
		err := s.Replace(archive)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		if got := tree(t, home); !slices.Equal(got, []string{"ui/index.html"}) {
			t.Errorf("%q: %v", want, got)
		}
	}
	f := func(want string, entries ...entry) {
		t.Helper()
		entries = append(pages("index.html"), entries...)
		check(makeZip(t, entries...), want)
		check(makeTarGz(t, entries...), want)
	}
	for _, name := range []string{
		"../evil", "a/../../evil", "/etc/evil", "a/../b", "a/./b", "a//b", `..\evil`, `a\b`, "C:evil", "C:/evil", "a.js:stream",
		"nul", "aux.js", "a/COM1.txt", "lpt¹", "a/con .js", "dot./x", "a/ ", "x\x01y", "./../evil", "..", "../",
		strings.Repeat("a/", 40) + "x", strings.Repeat("x", 300), strings.Repeat("long/", 200) + "x",
	} {
		f("is not a path that is allowed", pages(name)...)
	}
	f("is neither a file nor a directory", entry{name: "link", link: "/etc/passwd"})
	f("is neither a file nor a directory", entry{name: "assets", link: ".."}, entry{name: "assets/x", body: "x"})
	f("is there twice", pages("index.html")...)
	f("\"a\": is there twice", pages("a", "a/b")...)
	check(makeZip(t, pages("index.html/x", "y")...), "there is no index.html in it")
	check(makeZip(t, pages("src/main.ts", "readme.md")...), "there is no index.html in it")
	check(makeZip(t), "there is no index.html in it")
	check(makeZip(t, pages("index.html", "a\x00b")...), "is not a path")
	for _, kind := range []byte{tar.TypeLink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeCont} {
		check(pack(t, makeTar(t, []tar.Header{{Typeflag: kind, Name: "x", Linkname: "index.html"}}, []string{""})), "neither")
	}

	// Neither of the two, whatever the name.
	for _, text := range []string{"", "<!doctype html><title>404</title>", "PK", "Rar!\x1a\x07", "\x1f\x8b\x09"} {
		if err := s.Replace([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestTruncated cuts archives off, and changes bytes of them: there is no panel, or a whole one.
func TestTruncated(t *testing.T) {
	noise := make([]byte, 4000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	files := []entry{{name: "index.html", body: string(noise)}, {name: "a.js", body: "x"}}
	for _, archive := range [][]byte{makeZip(t, files...), makeTarGz(t, files...)} {
		for n := 0; n < len(archive); n += 1 + len(archive)/40 {
			if err := newSite(t).Replace(archive[:n]); err == nil {
				t.Errorf("%q… with %d of %d bytes is taken", archive[:2], n, len(archive))
			}
		}
		bad := bytes.Clone(archive)
		bad[len(bad)/3] ^= 0x55 // in the noise
		s := newSite(t)
		if err := s.Replace(bad); err == nil {
			t.Errorf("%q… with a byte changed is taken", archive[:2])
		}
		if left, _ := os.ReadDir(filepath.Dir(s.Dir())); len(left) != 0 {
			t.Error(left)
		}
	}
}

func TestBombs(t *testing.T) {
	try := func(archive []byte, max limits) error {
		t.Helper()
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		err = unpack(root, archive, kindOf(archive), max)
		size := int64(0)
		for _, name := range sizesOf(t, dir) {
			size += name
		}
		if size > max.bytes+1 {
			t.Errorf("%d bytes were written", size)
		}
		return err
	}
	f := func(want string, max limits, entries ...entry) {
		t.Helper()
		for _, archive := range [][]byte{makeZip(t, entries...), makeTarGz(t, entries...)} {
			if err := try(archive, max); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%q…: %v; want %q", archive[:2], err, want)
			}
		}
	}
	zeros := strings.Repeat("\x00", 1<<20)
	f("more than is allowed", limits{1 << 19, 10, 1 << 20, 1 << 20}, entry{name: "a", body: zeros})
	f("more than is allowed", limits{1 << 20, 10, 1 << 20, 1 << 20}, entry{name: "a", body: zeros}, entry{name: "b", body: "x"})
	f("", limits{1<<20 + 1, 10, 1 << 20, 1 << 20}, entry{name: "a", body: zeros}, entry{name: "b", body: "x"})
	// 3 MiB of zeros in 6 KB: the ratio stops it.
	three := []entry{{name: "a", body: zeros}, {name: "b", body: zeros}, {name: "c", body: zeros}}
	f("more than is allowed", limits{1 << 30, 10, 100, 1 << 20}, three...)
	f("", limits{1 << 30, 10, 10_000, 1 << 20}, three...)
	f("more than 3 files", limits{1 << 20, 3, 100, 1 << 20}, pages("a", "b", "c", "d")...)
	f("more than 3 files", limits{1 << 20, 3, 100, 1 << 20}, pages("a/b/c/d")...)
	f("more than 3 files", limits{1 << 20, 3, 100, 1 << 20}, pages("a/", "b/", "c/", "d/")...)
	f("", limits{1 << 20, 4, 100, 1 << 20}, pages("a/b/c/d")...)

	small := limits{1 << 20, 10, 100, 1 << 20}
	// A bomb behind the end of the tar file, and one in what is no file.
	end := append(plainTar(t, pages("index.html")...), make([]byte, 4<<20)...)
	if err := try(pack(t, end), small); !errors.Is(err, errMuch) {
		t.Error(err)
	}
	var heads []tar.Header
	for range 4 {
		heads = append(heads, tar.Header{Typeflag: tar.TypeReg, Name: "x", PAXRecords: map[string]string{"A.b": strings.Repeat("x", 1<<20-100)}})
	}
	for i := range heads {
		heads[i].Name = strings.Repeat("x", i+1)
	}
	if err := try(pack(t, makeTar(t, heads, make([]string, len(heads)))), small); !errors.Is(err, errMuch) {
		t.Error(err)
	}
	// A directory of a zip file that is longer than all that is allowed.
	long := bytes.Repeat(append(bytes.Clone(centralHead), make([]byte, 42)...), 50)
	if err := try(append([]byte("PK\x05\x06"), long...), limits{1 << 20, 20, 100, 1 << 20}); err == nil || !strings.Contains(err.Error(), "more than 20 files") {
		t.Error(err)
	}
}

// sizesOf is the sizes of the files below dir.
func sizesOf(t *testing.T, dir string) (sizes []int64) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			st, _ := d.Info()
			sizes = append(sizes, st.Size())
		}
		return err
	})
	return sizes
}

// FuzzUnpack shows that no archive writes outside of its directory, and none more than it may.
func FuzzUnpack(f *testing.F) {
	f.Add(makeZip(f, pages("p/", "p/index.html", "p/a/b.js")...))
	f.Add(makeTarGz(f, pages("p/", "p/index.html", "p/a/b.js")...))
	f.Add(plainTar(f, append(pages("index.html"), entry{name: "l", link: "../x"})...))
	f.Add(makeZip(f, pages("../x", `a\b`)...))
	f.Fuzz(func(t *testing.T, archive []byte) {
		kind := kindOf(archive)
		if kind == none {
			return
		}
		home := t.TempDir()
		if err := os.Mkdir(filepath.Join(home, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(filepath.Join(home, "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		max := limits{bytes: 1 << 16, entries: 50, ratio: 100, heads: 1 << 16}
		err = unpack(root, archive, kind, max)
		n, size := 0, int64(0)
		_ = filepath.WalkDir(home, func(path string, d fs.DirEntry, walkErr error) error {
			if walkErr != nil {
				t.Fatal(walkErr)
			}
			if path == home || path == filepath.Join(home, "in") {
				return nil
			}
			if !strings.HasPrefix(path, filepath.Join(home, "in")+string(filepath.Separator)) || d.Type()&^fs.ModeDir != 0 {
				t.Fatalf("%s: %v", path, d.Type())
			}
			if n++; !d.IsDir() {
				st, _ := d.Info()
				size += st.Size()
			}
			return nil
		})
		if n > max.entries || size > max.bytes+1 {
			t.Fatalf("%d entries, %d bytes: %v", n, size, err)
		}
	})
}

// FuzzClean shows that a name that is taken stays below its directory, on any system.
func FuzzClean(f *testing.F) {
	for _, name := range []string{"a/b", "./a", "../a", "/a", `a\b`, "c:", "nul.txt", "./", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := clean(name)
		if err != nil {
			return
		}
		if !fs.ValidPath(got) || !filepath.IsLocal(filepath.FromSlash(got)) || strings.ContainsAny(got, "\\:\x00") {
			t.Fatalf("%q is %q", name, got)
		}
		if again, err := clean(got); err != nil || again != got {
			t.Fatalf("%q is %q, and that %q: %v", name, got, again, err)
		}
	})
}
