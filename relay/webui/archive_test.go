package webui

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"strings"
	"testing"
)

// entry is one entry of an archive that a test makes; a name that ends in / is a directory.
type entry struct {
	name, body string
	link       string // what a symbolic link leads to
}

func pages(names ...string) (list []entry) {
	for _, n := range names {
		list = append(list, entry{name: n, body: "body of " + n})
	}
	return list
}

func makeZip(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		body := e.body
		if e.link != "" {
			h.SetMode(fs.ModeSymlink | 0o777)
			body = e.link
		} else if strings.HasSuffix(e.name, "/") {
			h.SetMode(fs.ModeDir | 0o700)
		} else {
			h.SetMode(0o4777)
		}
		f, err := w.CreateHeader(h)
		if err == nil && !strings.HasSuffix(e.name, "/") {
			_, err = f.Write([]byte(body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func makeTar(t testing.TB, headers []tar.Header, bodies []string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range headers {
		headers[i].Size = int64(len(bodies[i]))
		err := w.WriteHeader(&headers[i])
		if err == nil {
			_, err = w.Write([]byte(bodies[i]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plainTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var headers []tar.Header
	var bodies []string
	for _, e := range entries {
		h := tar.Header{Name: e.name, Mode: 0o4777, Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		} else if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if h.Typeflag != tar.TypeReg {
			e.body = ""
		}
		headers, bodies = append(headers, h), append(bodies, e.body)
	}
	return makeTar(t, headers, bodies)
}

func pack(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func makeTarGz(t testing.TB, entries ...entry) []byte {
	t.Helper()
	return pack(t, plainTar(t, entries...))
}
