//go:build !linux

// Command bench measures Switchyard beside other proxies. It runs on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: Linux only: it reads CPU clocks and /proc")
	os.Exit(2)
}
