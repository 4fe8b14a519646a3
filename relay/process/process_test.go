package process

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

func TestName(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := (Owner{Path: path}).Name(); got != want {
			t.Errorf("Name of %q = %q; want %q", path, got, want)
		}
	}
	f("", "")
	f("/usr/bin/curl", "curl")
	f("/opt/a b/a (b)", "a (b)")
	f("/", "")
}

func TestUnsupported(t *testing.T) {
	if runtime.GOOS == "linux" {
		t.Skip("this system tells")
	}
	_, err := New().Find(t.Context(), flow.TCP, netip.AddrPort{}, netip.AddrPort{})
	if !errors.Is(err, ErrUnsupported) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v; want %v", err, ErrUnsupported)
	}
}
