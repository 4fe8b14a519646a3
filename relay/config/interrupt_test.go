package config

import (
	"strings"
	"testing"
	"time"
)

func TestInterrupt(t *testing.T) {
	f := func(text string, closes bool, after time.Duration) {
		t.Helper()
		c, diags := Parse("f", []byte("proxy-groups: [{name: g, type: select, proxies: [DIRECT], interrupt-exist-connections: "+text+"}]"))
		if len(diags) > 0 {
			t.Fatalf("%s: %v", text, diags)
		}
		if got := c.Groups[0].Interrupt; got != (Interrupt{closes, after}) {
			t.Errorf("%s: %+v", text, got)
		}
	}
	f("keep", false, 0)
	f("null", false, 0)
	f("false", false, 0)
	f("close", true, 0)
	f("true", true, 0)
	f("Close", true, 0)
	f("drain 30s", true, 30*time.Second)
	f("drain 30", true, 30*time.Second)
	f("'  drain   1m30s '", true, 90*time.Second)
	f("drain 1s", true, time.Second)
	f("drain 24h", true, 24*time.Hour)
	f("drain 1500ms", true, 1500*time.Millisecond)

	wrong := func(text, want string) {
		t.Helper()
		c, diags := Parse("f", []byte("proxy-groups: [{name: g, type: select, proxies: [DIRECT], interrupt-exist-connections: "+text+"}]"))
		if len(diags) != 1 || !strings.Contains(diags[0].String(), "1:88: error: proxy-groups[0].interrupt-exist-connections: "+want) {
			t.Errorf("%s: %v; want %s", text, diags, want)
		}
		if got := c.Groups[0].Interrupt; got != (Interrupt{}) {
			t.Errorf("%s: %+v of an error", text, got)
		}
	}
	wrong("drain", "drain needs a time, such as drain 30s")
	wrong("'drain '", "drain needs a time, such as drain 30s")
	wrong("drain soon", `want a time such as drain 30s or drain 5m, got "drain soon"`)
	wrong("drain 30 s", `want a time such as drain 30s or drain 5m, got "drain 30 s"`)
	wrong("drain 0", `want a drain of 1s to 24h, got "drain 0"`)
	wrong("drain -5s", `want a drain of 1s to 24h, got "drain -5s"`)
	wrong("drain 999ms", `want a drain of 1s to 24h, got "drain 999ms"`)
	wrong("drain 86401", `want a drain of 1s to 24h, got "drain 86401"`)
	wrong("drain 99999999999999999999", "want a time")
	wrong("drain 9999999999999", "want a time") // more than fits
	wrong("close now", `want keep, close or a time such as drain 30s, got "close now"`)
	wrong("closed", `want keep, close or a time such as drain 30s, got "closed" (did you mean "close"?)`)
	wrong("1", `want keep, close or a time such as drain 30s, got "1"`)
	wrong("''", `want keep, close or a time such as drain 30s, got ""`)
	wrong("{drain: 30s}", "want keep, close or a time such as drain 30s, got a map")
	wrong("[close]", "want keep, close or a time such as drain 30s, got a list")
}

// TestInterruptOfWhom warns where there is no one choice.
func TestInterruptOfWhom(t *testing.T) {
	f := func(kind, policy, want string) {
		t.Helper()
		got := said("proxy-groups: [{name: g, type: " + kind + ", proxies: [DIRECT], interrupt-exist-connections: " + policy + "}]")
		if strings.Contains(got, "interrupt-exist-connections") != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%s, %s: %s; want %s", kind, policy, got, want)
		}
	}
	for _, kind := range []string{"select", "url-test", "fallback"} {
		f(kind, "close", "")
	}
	for _, kind := range []string{"load-balance", "relay"} {
		f(kind, "keep", "")
		f(kind, "drain 5s", "f:1:16: warning: proxy-groups[0].interrupt-exist-connections: changes nothing: a group of type "+kind)
	}
}
