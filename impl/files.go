package impl

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/relay/webui"
)

// contentTypes are those of the files of web pages. The system's table is not asked: it may say
// another thing on each machine, and a browser runs no script of a wrong type.
var contentTypes = map[string]string{
	".css":         "text/css; charset=utf-8",
	".gif":         "image/gif",
	".htm":         "text/html; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".ico":         "image/x-icon",
	".jpeg":        "image/jpeg",
	".jpg":         "image/jpeg",
	".js":          "text/javascript; charset=utf-8",
	".json":        "application/json",
	".map":         "application/json",
	".md":          "text/markdown; charset=utf-8",
	".mjs":         "text/javascript; charset=utf-8",
	".otf":         "font/otf",
	".png":         "image/png",
	".svg":         "image/svg+xml",
	".ttf":         "font/ttf",
	".txt":         "text/plain; charset=utf-8",
	".wasm":        "application/wasm",
	".webmanifest": "application/manifest+json",
	".webp":        "image/webp",
	".woff":        "font/woff",
	".woff2":       "font/woff2",
	".xml":         "text/xml; charset=utf-8",
	".yaml":        "application/yaml",
	".yml":         "application/yaml",
}

func contentType(name string) string {
	if t := contentTypes[strings.ToLower(path.Ext(name))]; t != "" {
		return t
	}
	return "application/octet-stream"
}

// sendFile answers with the file f called name, which it closes: all of it, a range, or the word that
// the client has it. Clients ask again each time, so that no page meets the files of another version.
func sendFile(ctx *fasthttp.RequestCtx, f *webui.File, name string) {
	h := &ctx.Response.Header
	tag := `"` + f.Tag + `"`
	modified := f.Modified.UTC().Truncate(time.Second)
	h.Set("ETag", tag)
	h.Set("Last-Modified", modified.Format(http.TimeFormat))
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	if isKnown(ctx, tag, modified) {
		_ = f.Close()
		rt.Empty(ctx, fasthttp.StatusNotModified)
		return
	}
	h.Set("Accept-Ranges", "bytes")
	first, size, err := wanted(ctx, tag, f.Size)
	if err == nil && first > 0 {
		_, err = f.Seek(first, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", f.Size))
		rt.Empty(ctx, fasthttp.StatusRequestedRangeNotSatisfiable)
		return
	}
	ctx.SetStatusCode(fasthttp.StatusOK)
	if size < f.Size {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+size-1, f.Size))
		ctx.SetStatusCode(fasthttp.StatusPartialContent)
	}
	ctx.SetContentType(contentType(name))
	ctx.SetBodyStream(&fileBody{f.File, size}, int(size))
}

// isKnown says whether the client has what tag names (RFC 9110, section 13.2.2).
func isKnown(ctx *fasthttp.RequestCtx, tag string, modified time.Time) bool {
	if list := ctx.Request.Header.Peek("If-None-Match"); len(list) > 0 {
		for t := range strings.SplitSeq(string(list), ",") {
			if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(string(ctx.Request.Header.Peek("If-Modified-Since")))
	return err == nil && !modified.IsZero() && !modified.After(since)
}

// wanted is which bytes a client asks for. Several ranges at once are answered with the whole, as is
// a range of another version.
func wanted(ctx *fasthttp.RequestCtx, tag string, size int64) (first, n int64, err error) {
	field := ctx.Request.Header.Peek("Range")
	of := ctx.Request.Header.Peek("If-Range")
	if !ctx.IsGet() || !bytes.HasPrefix(field, []byte("bytes=")) || bytes.IndexByte(field, ',') >= 0 ||
		len(of) > 0 && string(of) != tag {
		return 0, size, nil
	}
	from, to, err := fasthttp.ParseByteRange(field, int(size))
	if err != nil || from > to { // bytes=-0
		return 0, 0, strconv.ErrRange
	}
	return int64(from), int64(to-from) + 1, nil
}

// fileBody is n bytes of a file. Whoever sends it closes it.
type fileBody struct {
	*os.File
	n int64
}

// WriteTo implements io.WriterTo: where w is a TCP connection the kernel moves the bytes.
func (b *fileBody) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, &io.LimitedReader{R: b.File, N: b.n})
}

// Read implements io.Reader.
func (b *fileBody) Read(p []byte) (int, error) {
	if b.n <= 0 {
		return 0, io.EOF
	}
	k, err := b.File.Read(p[:min(int64(len(p)), b.n)])
	b.n -= int64(k)
	return k, err
}
