//go:build !unix

package sysnet

// Owner is the user a file belongs to; this system has no such number.
func Owner(string) (uid uint32, ok bool) { return 0, false }
