package config

import (
	"runtime"
	"strings"
	"testing"
)

func TestPipeNames(t *testing.T) {
	f := func(goos, name, want string) {
		t.Helper()
		c := Default()
		c.Controller.Pipe = name
		d := &decoder{file: "f", places: map[string]Pos{"external-controller-pipe": {3, 1}}}
		c.checkPipe(d, goos)
		got := ""
		for _, diag := range d.diags {
			got += diag.String()
		}
		if got != want {
			t.Errorf("%s %q\ngot\n%s\nwant\n%s", goos, name, got, want)
		}
	}
	wrong := func(got string) string {
		return "f:3:1: error: external-controller-pipe: want a name such as " + `\\.\pipe\switchyard` + ", got " + got
	}
	f("windows", "", "")
	f("windows", `\\.\pipe\switchyard`, "")
	f("windows", `\\.\PIPE\s`, "")
	f("windows", `\\.\pipe\ProtectedPrefix\Administrators\switchyard`, "")
	f("windows", `\\.\pipe\`+strings.Repeat("ü", 247), "")
	f("windows", `\\.\pipe\`, wrong("`\\\\.\\pipe\\`"))
	f("windows", `\\.\pipe`, wrong("`\\\\.\\pipe`"))
	f("windows", `\\server\pipe\s`, wrong("`\\\\server\\pipe\\s`"))
	f("windows", "/run/s.sock", wrong("`/run/s.sock`"))
	f("windows", `\\.\pipe\`+"a\x00b", wrong(`"\\\\.\\pipe\\a\x00b"`))
	long := `\\.\pipe\` + strings.Repeat("a", 248)
	f("windows", long, wrong("`"+long+"`"))
	// Elsewhere the same file is to work.
	f("linux", "anything", "f:3:1: note: external-controller-pipe: changes nothing on this system")
}

// TestPipeHasAPlace shows that a file's own pipe is judged, with the line where it stands.
func TestPipeHasAPlace(t *testing.T) {
	got := said("mode: rule\nexternal-controller-pipe: x")
	want := "f:2:1: note: external-controller-pipe: changes nothing on this system"
	if runtime.GOOS == "windows" {
		want = "f:2:1: error: external-controller-pipe: want a name such as " + pipeRoot + "switchyard, got `x`"
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
