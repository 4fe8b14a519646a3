package sharelink

import (
	"errors"
	"testing"
	"unicode/utf8"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		two,
		b64(two),
		"vmess://" + b64(`{"add":"a","port":1,"id":"x","net":"ws","path":"/?ed=1"}`),
		"vmess://" + b64("auto:x@a:1") + "?obfs=http&tls=1",
		"vless://x@a:1?security=reality&pbk=k&type=xhttp&extra={}",
		"ss://a:b@c:1/?plugin=v2ray-plugin;tls",
		"ssr://" + b64("a:1:b:c:d:"+b64("e")+"/?remarks="+b64("n")),
		"hy2://p@a:1,2-3?mport=4",
		"tuic://a:b@c:1\nanytls://p@a\nsocks://" + b64("a:b@c:1"),
		"http://[::1]:1#%ff\nhttp://[::1]:1#%ff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		nodes, problems, err := Parse(body)
		if err != nil && (!errors.Is(err, ErrFormat) || len(nodes)+len(problems) > 0) {
			t.Fatal(nodes, problems, err)
		}
		if len(problems) > maxProblems+2 {
			t.Fatalf("%d problems", len(problems))
		}
		last, seen := 0, make(map[string]bool)
		for _, n := range nodes {
			if n.Line <= last {
				t.Fatalf("line %d after %d", n.Line, last)
			}
			last = n.Line
			name, kind := n.Keys["name"].(string), n.Keys["type"].(string)
			server, port := n.Keys["server"].(string), n.Keys["port"].(int)
			if name == "" || seen[name] || !utf8.ValidString(name) || len(name) > maxName+16 {
				t.Fatalf("the name %q", name)
			}
			seen[name] = true
			if kind == "" || server == "" || port < 1 || port > 65535 {
				t.Fatalf("%q %q %d", kind, server, port)
			}
		}
		for _, p := range problems {
			if p.Err == nil || !utf8.ValidString(p.Name) || len(p.Name) > maxName {
				t.Fatal(p)
			}
		}
	})
}
