package impl

import (
	"strings"

	"github.com/valyala/fasthttp"
)

// condition says which revisions the entity tags of a field stand for (RFC 9110, section 13.1); nil is that the
// request has no such field. With weak, weak tags count as well. What is no tag stands for none.
func condition(ctx *fasthttp.RequestCtx, field string, weak bool) func(revision string) bool {
	lines := ctx.Request.Header.PeekAll(field)
	if len(lines) == 0 {
		return nil
	}
	all := false
	tags := make(map[string]bool)
	for _, line := range lines {
		if strings.TrimSpace(string(line)) == "*" {
			all = true
		}
		readTags(string(line), weak, tags)
	}
	return func(revision string) bool { return all || tags[revision] }
}

// readTags reads a list of entity tags, as far as it is one.
func readTags(list string, weak bool, tags map[string]bool) {
	for {
		list = strings.TrimLeft(list, " \t,")
		rest, isWeak := strings.CutPrefix(list, "W/")
		rest, quoted := strings.CutPrefix(rest, `"`)
		tag, rest, closed := strings.Cut(rest, `"`)
		if !quoted || !closed {
			return
		}
		if weak || !isWeak {
			tags[tag] = true
		}
		list = rest
	}
}
