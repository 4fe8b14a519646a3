//go:build !linux

package upstream

import (
	"context"
	"errors"
)

// errLinux is what a person can do elsewhere.
var errLinux = errors.New("it is known on Linux alone: name a server instead of dhcp")

func findServers(context.Context, string) (offer, error) { return offer{}, errLinux }

func defaultDevice() (string, error) { return "", errLinux }
