package impl

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// isHTTP1 says whether a request is of the one version that is spoken here.
func isHTTP1(h *fasthttp.RequestHeader) bool {
	return bytes.HasPrefix(h.Protocol(), []byte("HTTP/1."))
}

// lone are fields of which a request has one at most: with two, who reads the first and who reads the
// last do not see the same request.
var lone = [...]string{"Authorization", "Content-Length", "Host", "Origin", "Transfer-Encoding"}

// isClear says whether the lines of a head mean the same to everybody (RFC 9112, sections 2.2, 5 and
// 6.1). fasthttp also takes folded lines, lines without CR, names with a space in them, and a body that
// is framed in two ways.
func isClear(lines []byte) bool {
	var seen [len(lone)]bool
	framed := false
	for len(lines) > 0 && string(lines) != "\r\n" {
		line, rest, ok := bytes.Cut(lines, []byte("\r\n"))
		name, _, named := bytes.Cut(line, []byte(":"))
		if !ok || !named || bytes.ContainsAny(line, "\r\n") || bytes.ContainsAny(name, " \t") {
			return false
		}
		for i, word := range lone {
			if !bytes.EqualFold(name, []byte(word)) {
				continue
			}
			isFrame := word == "Content-Length" || word == "Transfer-Encoding"
			if seen[i] || isFrame && framed {
				return false
			}
			seen[i] = true
			framed = framed || isFrame
		}
		lines = rest
	}
	return true
}
