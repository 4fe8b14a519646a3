package impl

import (
	"crypto/sha256"
	_ "embed" // for the pages
	"encoding/hex"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/spec"
)

//go:embed explorer/index.html
var explorerPage string

//go:embed explorer/explorer.css
var explorerStyle string

//go:embed explorer/explorer.js
var explorerScript string

// explorerPolicy lets the explorer load what is ours, talk to us, and nothing else; no page may frame it.
const explorerPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// document is a text that is the same as long as the daemon runs.
type document struct{ kind, text, tag string }

// newDocuments are the contract, and a page to read and try it, by their paths.
func newDocuments() map[string]document {
	list := map[string]document{
		"/docs":              {kind: "text/html; charset=utf-8", text: explorerPage},
		"/docs/explorer.css": {kind: "text/css; charset=utf-8", text: explorerStyle},
		"/docs/explorer.js":  {kind: "text/javascript; charset=utf-8", text: explorerScript},
		"/openapi.json":      {kind: "application/json", text: spec.JSON()},
		"/openapi.yaml":      {kind: "application/yaml", text: spec.YAML()},
	}
	for path, d := range list {
		sum := sha256.Sum256([]byte(d.text))
		d.tag = `"` + hex.EncodeToString(sum[:8]) + `"`
		list[path] = d
	}
	return list
}

// isDocs says whether a path, as it was sent, is one of the documents.
func (c *Controller) isDocs(ctx *fasthttp.RequestCtx) bool {
	p := string(ctx.URI().PathOriginal())
	_, ok := c.documents[p]
	return ok || p == "/docs/"
}

// serveDocs answers with one of the documents, which stand beside the contract. They ask for no
// secret: everybody may read what they say. What the explorer sends is asked for it as from anybody.
func (c *Controller) serveDocs(ctx *fasthttp.RequestCtx) {
	if !isRead(ctx) {
		return
	}
	p := string(ctx.URI().PathOriginal())
	d, ok := c.documents[p]
	if !ok {
		redirectPage(ctx, fasthttp.StatusMovedPermanently, "/docs")
		return
	}
	h := &ctx.Response.Header
	h.Set("ETag", d.tag)
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	if p == "/docs" {
		h.Set("Content-Security-Policy", explorerPolicy)
		h.Set("Referrer-Policy", "no-referrer")
	}
	if isKnown(ctx, d.tag, time.Time{}) {
		rt.Empty(ctx, fasthttp.StatusNotModified)
		return
	}
	ctx.SetContentType(d.kind)
	ctx.SetBodyString(d.text)
}
