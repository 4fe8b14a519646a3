//go:build !linux

package sysnet

import (
	"net"
	"net/netip"
)

func enablePktinfo(*net.UDPConn) bool { return false }

func parsePktinfo([]byte) netip.Addr { return netip.Addr{} }

func putPktinfo([]byte, netip.Addr) int { return 0 }
