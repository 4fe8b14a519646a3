package gen

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTemplates tells when a template that is derived from oapi-codegen's differs from it by more
// than the lines we marked, as after an upgrade of the tool.
func TestTemplates(t *testing.T) {
	module := "github.com/oapi-codegen/oapi-codegen/v2"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	upstream := filepath.Join(strings.TrimSpace(string(out)), "pkg", "codegen", "templates")
	f := func(name string) {
		t.Helper()
		want, err := os.ReadFile(filepath.Join(upstream, name))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.ReadFile(filepath.Join("templates", name))
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for line := range strings.Lines(string(ours)) {
			if !strings.Contains(line, "switchyard:") {
				got.WriteString(line)
			}
		}
		if got.String() != string(want) {
			t.Errorf("%s differs from the tool's by more than our lines: derive it anew", name)
		}
	}
	f("client.tmpl")
	f("client-with-responses.tmpl")
}

// TestGenerated looks for what the generated models must not fall back to.
func TestGenerated(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("api", "append.gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"reflect", "json.Marshal", "interface{}", "fmt."} {
		if strings.Contains(string(b), word) {
			t.Errorf("append.gen.go uses %s", word)
		}
	}
}
