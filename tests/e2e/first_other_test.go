//go:build !linux

package e2e

import "syscall"

func firstProcess() *syscall.SysProcAttr { return nil }
