package impl

import (
	"path"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/webui"
)

// UpgradeUI implements server.Handler.
func (c *Controller) UpgradeUI(_ *fasthttp.RequestCtx, w server.UpgradeUIW) rt.Reply {
	if err := c.o.Relay.UpdatePanel(c.ctx); err != nil {
		return w.JSON500(updateFailed(err))
	}
	return w.JSON200(&api.Done{Status: "ok"})
}

// isUI says whether a path, as it was sent, is one of the web panel.
func isUI(ctx *fasthttp.RequestCtx) bool {
	p := string(ctx.URI().PathOriginal())
	return p == "/ui" || strings.HasPrefix(p, "/ui/")
}

// serveUI answers with the files of the web panel, which stand beside the contract. It asks for no
// secret: browsers send none, and nothing in them is one.
func (c *Controller) serveUI(ctx *fasthttp.RequestCtx) {
	site := c.o.Relay.Panel()
	p, below := strings.CutPrefix(string(ctx.URI().PathOriginal()), "/ui/")
	switch {
	case site == nil:
		pageNotFound(ctx)
	case !isRead(ctx):
	case !below:
		redirectPage(ctx, fasthttp.StatusTemporaryRedirect, "/ui/")
		ctx.SetContentType("text/html; charset=utf-8")
		ctx.SetBodyString("<a href=\"/ui/\">Temporary Redirect</a>.\n\n")
	default:
		c.panelFile(ctx, site, p)
	}
}

// isRead says whether a request reads; any other has its answer then.
func isRead(ctx *fasthttp.RequestCtx) bool {
	if ctx.IsGet() || ctx.IsHead() {
		return true
	}
	ctx.Response.Header.Set("Allow", "GET, HEAD")
	rt.Empty(ctx, fasthttp.StatusMethodNotAllowed)
	return false
}

func pageNotFound(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.SetStatusCode(fasthttp.StatusNotFound)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString("404 page not found\n")
}

// redirectPage sends a browser elsewhere with the query it came with: panels read theirs.
func redirectPage(ctx *fasthttp.RequestCtx, status int, to string) {
	if q := ctx.URI().QueryString(); len(q) > 0 {
		to += "?" + string(q)
	}
	ctx.Response.Header.Set("Location", to)
	ctx.SetStatusCode(status)
}

// panelFile answers with what is at a path below /ui/, as it was sent.
func (c *Controller) panelFile(ctx *fasthttp.RequestCtx, site *webui.Site, sent string) {
	name, ok := panelName(sent)
	if !ok {
		pageNotFound(ctx)
		return
	}
	isFolder := sent == "" || strings.HasSuffix(sent, "/")
	if path.Base(name) == webui.Index && !isFolder {
		redirectPage(ctx, fasthttp.StatusMovedPermanently, "./")
		return
	}
	want := name
	if isFolder {
		want = path.Join(name, webui.Index)
	}
	f, err := site.Open(want)
	switch {
	case err == nil && !f.IsDir():
		sendFile(ctx, f, want)
	case err == nil && !isFolder:
		redirectPage(ctx, fasthttp.StatusMovedPermanently, "./"+sent[strings.LastIndexByte(sent, '/')+1:]+"/")
	case sendIndex(ctx, site, name):
	case sent == "" && site.Name() != "":
		redirectPage(ctx, fasthttp.StatusTemporaryRedirect, "/ui/"+site.Name()+"/")
	default:
		pageNotFound(ctx)
	}
}

// panelName decodes a path below /ui/, each part of it once. A part that holds a slash then, begins
// with a dot or is empty is not taken.
func panelName(sent string) (name string, ok bool) {
	sent = strings.TrimSuffix(sent, "/")
	if sent == "" {
		return ".", true
	}
	parts := strings.Split(sent, "/")
	for i, part := range parts {
		part, ok := rt.Unescape(part)
		if !ok || part == "" || part[0] == '.' || strings.ContainsAny(part, "/\\\x00") {
			return "", false
		}
		parts[i] = part
	}
	return strings.Join(parts, "/"), true
}

// sendIndex answers a browser that opens a place inside a panel, which only the panel knows: with the
// nearest page above. It says whether there is one.
func sendIndex(ctx *fasthttp.RequestCtx, site *webui.Site, name string) bool {
	if strings.Contains(path.Base(name), ".") && name != "." || !strings.Contains(string(ctx.Request.Header.Peek("Accept")), "text/html") {
		return false
	}
	for name != "." {
		name = path.Dir(name)
		want := path.Join(name, webui.Index)
		if f, err := site.Open(want); err == nil && !f.IsDir() {
			ctx.Response.Header.Set("Vary", "Origin, Accept")
			sendFile(ctx, f, want)
			return true
		}
	}
	return false
}
