package impl

import (
	"fmt"
	"net"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// pipeName is the pipe that a configuration asks for; "" for none.
func pipeName(c *config.Config) string { return c.Controller.Pipe }

// listenPipe makes a pipe that nobody else has made, and that other machines cannot open.
func listenPipe(name string) (net.Listener, error) {
	who, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("the user of this process: %w", err)
	}
	return winio.ListenPipe(name, &winio.PipeConfig{
		SecurityDescriptor: descriptor(who.User.Sid.String()),
		InputBufferSize:    pipeBuffer, OutputBufferSize: pipeBuffer,
	})
}

// pipeBuffer is how much the system keeps for a connection in each direction, in bytes.
const pipeBuffer = 64 << 10
