package impl

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// TestConditions reads the fields If-Match and If-None-Match as RFC 9110 has them.
func TestConditions(t *testing.T) {
	f := func(strong, weak bool, lines ...string) {
		t.Helper()
		ctx := new(fasthttp.RequestCtx)
		for _, line := range lines {
			ctx.Request.Header.Add("If-Match", line)
		}
		for isWeak, want := range map[bool]bool{false: strong, true: weak} {
			if holds := condition(ctx, "If-Match", isWeak); holds("b-1") != want {
				t.Errorf("%q, weak %v: %v", lines, isWeak, !want)
			}
		}
	}
	f(true, true, `"b-1"`)
	f(true, true, `*`)
	f(true, true, ` * `)
	f(true, true, `"a", "b-1" ,"c"`)
	f(true, true, `"a"`, `"b-1"`)
	f(true, true, `,, "b-1",`)
	f(true, true, `W/"a", "b-1"`)
	f(true, true, `"a,b" "b-1"`)
	f(false, true, `W/"b-1"`)
	f(false, true, `"a",W/"b-1"`)
	f(false, false, `"b-2"`)
	f(false, false, `b-1`)
	f(false, false, `"b-1`)
	f(false, false, `w/"b-1"`)
	f(false, false, `"*"`)
	f(false, false, ``)
	f(false, false, `"B-1"`)
	if condition(new(fasthttp.RequestCtx), "If-Match", false) != nil {
		t.Error("a condition that nobody made")
	}
}

func FuzzTags(f *testing.F) {
	f.Add(`W/"a", "b" , "c`)
	f.Fuzz(func(t *testing.T, list string) {
		strong, all := make(map[string]bool), make(map[string]bool)
		readTags(list, false, strong)
		readTags(list, true, all)
		for tag := range strong {
			if !all[tag] {
				t.Errorf("%q is strong alone", tag)
			}
		}
	})
}
