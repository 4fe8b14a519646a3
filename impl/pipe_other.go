//go:build !windows

package impl

import (
	"errors"
	"net"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// pipeName is "": only Windows has named pipes that a client can connect to.
func pipeName(*config.Config) string { return "" }

func listenPipe(string) (net.Listener, error) { return nil, errors.ErrUnsupported }
