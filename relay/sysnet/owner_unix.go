//go:build unix

package sysnet

import (
	"os"
	"syscall"
)

// Owner is the user a file belongs to.
func Owner(path string) (uid uint32, ok bool) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return sys.Uid, true
}
