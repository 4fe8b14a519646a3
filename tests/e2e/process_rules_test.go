package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// curlPath is the program that processes of curl run.
func curlPath(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("processes are found on Linux only")
	}
	_, _ = curl(t, "--version") // or skip
	path, err := exec.LookPath("curl")
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestProcessRules has rules about the program and the user of a client.
func TestProcessRules(t *testing.T) {
	path := curlPath(t)
	base := nowhere + answering(t, "a", "b")
	d := testkit.Start(t, "mixed-port: MIXED\n"+base)
	byCurl := func(rules, want string) {
		t.Helper()
		load(t, d, base+ruleLines("rules", rules))
		for _, scheme := range []string{"http", "socks5h"} {
			if got, err := curl(t, "-x", scheme+"://"+d.Mixed, "http://x.test/"); err != nil || got != want {
				t.Errorf("%s\ncurl by %s goes through %q, %v; want %q", rules, scheme, got, err, want)
			}
		}
	}
	name, user := filepath.Base(path), os.Getuid()
	byCurl("PROCESS-NAME,"+strings.ToUpper(name)+",a\nMATCH,b", "a")
	takes(t, d, "x.test", "b") // by this test's own process
	byCurl("PROCESS-NAME,not-"+name+",a\nMATCH,b", "b")
	byCurl("PROCESS-PATH,"+path+",a\nMATCH,b", "a")
	takes(t, d, "x.test", "b")
	byCurl("PROCESS-PATH,"+name+",a\nMATCH,b", "b")
	byCurl("PROCESS-NAME-REGEX,^CU.L,a\nMATCH,b", "a")
	byCurl("PROCESS-PATH-REGEX,/cu.l[^/]*$,a\nMATCH,b", "a")
	byCurl("PROCESS-NAME-WILDCARD,c?rl*,a\nMATCH,b", "a")
	byCurl("PROCESS-PATH-WILDCARD,*/c?rl*,a\nMATCH,b", "a")
	takes(t, d, "x.test", "b")
	byCurl(fmt.Sprintf("UID,%d,a\nMATCH,b", user), "a")
	takes(t, d, "x.test", "a")
	byCurl(fmt.Sprintf("UID,%d-%d,a\nMATCH,b", user+1, user+9), "b")
	byCurl(fmt.Sprintf("AND,((PROCESS-NAME,%s),(UID,%d)),a\nMATCH,b", name, user), "a")
	takes(t, d, "x.test", "b")
}

// TestFindProcessMode watches what each mode finds out about a client, with a rule that asks for it
// and with none.
func TestFindProcessMode(t *testing.T) {
	path := curlPath(t)
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere)
	// live is the flow of a curl that waits for its answer.
	live := func() api.Connection {
		t.Helper()
		arrived, leave, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
		web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(arrived)
			<-leave
		}))
		defer web.Close()
		go func() {
			defer close(over)
			if out, err := curl(t, "-x", "http://"+d.Mixed, web.URL); err != nil {
				t.Errorf("curl: %s, %v", out, err)
			}
		}()
		select {
		case <-arrived:
		case <-over:
			t.Fatal("curl never came through")
		}
		flows := get[api.Connections](t, d, "/connections").Connections
		close(leave)
		<-over
		i := slices.IndexFunc(flows, func(f api.Connection) bool { return strings.HasSuffix(web.URL, ":"+f.Metadata.DestinationPort) })
		if i < 0 {
			t.Fatalf("%+v", flows)
		}
		return flows[i]
	}
	f := func(mode, rules string, found bool, rule string) {
		t.Helper()
		load(t, d, nowhere+"find-process-mode: "+mode+"\n"+ruleLines("rules", rules))
		if is := get[api.Config](t, d, "/configs").FindProcessMode; string(is) != mode {
			t.Errorf("mode %s; want %s", is, mode)
		}
		var want api.Metadata
		if found {
			want.Process, want.ProcessPath, want.UID = filepath.Base(path), path, int64(os.Getuid())
		}
		is := live()
		if m := is.Metadata; m.Process != want.Process || m.ProcessPath != want.ProcessPath || m.UID != want.UID || is.Rule != rule {
			t.Errorf("%s, %q: process %q, %q of %d by %s; want %q, %q of %d by %s", mode, rules,
				m.Process, m.ProcessPath, m.UID, is.Rule, want.Process, want.ProcessPath, want.UID, rule)
		}
	}
	asks := "PROCESS-NAME," + filepath.Base(path) + ",DIRECT\nMATCH,DIRECT"
	f("off", asks, false, "Match")
	f("strict", asks, true, "ProcessName")
	f("strict", "MATCH,DIRECT", false, "Match")
	f("strict", "NETWORK,tcp,DIRECT\n"+asks, false, "Network") // decided before anybody asks
	f("always", "MATCH,DIRECT", true, "Match")
	f("always", asks, true, "ProcessName")
}
