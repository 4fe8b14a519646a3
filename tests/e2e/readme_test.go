package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// example is the block of README.md that stands behind a mark.
func example(t *testing.T, mark string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- example: "+mark+" -->\n```")
	if !ok {
		t.Fatalf("README.md has no example %q", mark)
	}
	_, rest, _ = strings.Cut(rest, "\n")
	text, _, ok := strings.Cut(rest, "\n```")
	if !ok {
		t.Fatalf("the example %q has no end", mark)
	}
	return text + "\n"
}

// TestREADME runs what README.md shows: its configuration, its curl lines and its SDK program.
func TestREADME(t *testing.T) {
	config := strings.Replace(example(t, "config"), "mixed-port: 7890", "mixed-port: MIXED", 1)
	config = strings.Replace(config, "127.0.0.1:9090", "127.0.0.1:0", 1)
	d := testkit.Start(t, config)
	d.Secret = "choose-a-word"
	run := func(t *testing.T, env []string, name string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), env...)
		cmd.Dir = filepath.Join("..", "..")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	t.Run("curl", func(t *testing.T) {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("no curl")
		}
		script := strings.Replace(example(t, "curl"), "http://127.0.0.1:9090", d.BaseURL, 1)
		out := run(t, nil, "sh", "-ec", strings.ReplaceAll(script, "curl ", "curl -sS --fail-with-body --noproxy '*' "))
		if !strings.Contains(out, `"meta":true`) || !strings.Contains(out, `"now":"office"`) {
			t.Error(out)
		}
		if _, body := d.Do(t, "GET", "/proxies/Work", ""); !strings.Contains(body, `"now":"backup"`) {
			t.Error(body)
		}
	})
	t.Run("sdk", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(example(t, "sdk")), 0o600); err != nil {
			t.Fatal(err)
		}
		out := run(t, []string{"API=" + d.BaseURL, "SECRET=" + d.Secret}, "go", "run", file)
		if !strings.Contains(out, "switched: 204") || !strings.Contains(out, "bytes so far:") {
			t.Error(out)
		}
	})
}
