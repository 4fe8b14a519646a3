package impl

import (
	"encoding/base64"
	"log/slog"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// TestDebugPages asks for the pages beside the contract: they are there while the level is debug, and for those
// who know the secret.
func TestDebugPages(t *testing.T) {
	c, url := serve(t, &observed{}, config.Controller{Secret: "s", MetricsToken: "m"})
	basic := func(word string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+word)) }
	f := func(path, authorization string, want int) {
		t.Helper()
		if res, text := get(t, url+path, authorization); res.StatusCode != want {
			t.Errorf("%s with %q: %d %.60s; want %d", path, authorization, res.StatusCode, text, want)
		}
	}
	f("/debug/pprof/heap", "Bearer s", 404)
	c.o.Hub.SetLevel(slog.LevelDebug)
	defer c.o.Hub.SetLevel(slog.LevelError)
	f("/debug/pprof/heap", "Bearer s", 200)
	f("/debug/pprof/heap", basic("s"), 200)
	f("/debug/pprof/heap", basic("m"), 401)
	f("/debug/pprof/heap", "Bearer m", 401)
	f("/debug/pprof/heap", basic(""), 401)
	f("/debug/pprof/heap", "Basic s", 401)
	f("/debug/pprof/heap", "", 401)
	f("/debug/pprof/heap?token=s", "", 401)
	f("/debug/pprof/", basic("s"), 200)
	f("/debug/pprof", basic("s"), 301)
	f("/debug", basic("s"), 301)
	f("/debug/vars", basic("s"), 200)
	f("/debug/pprof/none", basic("s"), 404)
	f("/debug/pprofs", basic("s"), 404)
	f("/debug/none", basic("s"), 404)
	f("/debug/pprof/profile?seconds=1000000", basic("s"), 400)
	f("/debug/pprof/trace?seconds=NaN", basic("s"), 400)
	f("/debug/pprof/heap?seconds=301", basic("s"), 400)
	f("/version", basic("s"), 401) // nowhere else
}
