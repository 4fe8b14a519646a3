package impl

import (
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
)

// Process is the daemon as a process.
type Process interface {
	// Restart has the daemon begin anew, soon after it has returned. With an error it goes on; ErrBusy is that
	// it is about to end already.
	Restart() error
	// Upgrade replaces the program and returns once the new one serves; the daemon then ends. With an error it
	// goes on.
	Upgrade(channel string, force bool) error
}

// ErrBusy means that the daemon is being replaced already.
var ErrBusy = errors.New("the daemon restarts or is being upgraded already")

// errNoProcess is for a controller that belongs to no daemon.
var errNoProcess = errors.New("not to be had here")

var done = &api.Done{Status: "ok"}

// Restart implements server.Handler.
func (c *Controller) Restart(ctx *fasthttp.RequestCtx, w server.RestartW) rt.Reply {
	err := errNoProcess
	if c.o.Process != nil {
		err = c.o.Process.Restart()
	}
	if err == nil {
		ctx.SetConnectionClose() // the next request is for another
		return w.JSON200(done)
	}
	switch status, body := processFailure(err, api.ErrorCodeRestartFailed); status {
	case 400:
		return w.JSON400(body)
	case 409:
		return w.JSON409(body)
	default:
		return w.JSON500(body)
	}
}

// Upgrade implements server.Handler.
func (c *Controller) Upgrade(ctx *fasthttp.RequestCtx, q server.UpgradeQuery, w server.UpgradeW) rt.Reply {
	err := errNoProcess
	if c.o.Process != nil {
		err = c.o.Process.Upgrade(string(q.Channel), q.Force)
	}
	if err == nil {
		ctx.SetConnectionClose()
		return w.JSON200(done)
	}
	status, body := processFailure(err, api.ErrorCodeUpgradeFailed)
	if status == 409 {
		return w.JSON409(body)
	}
	return w.JSON500(body)
}

// processFailure is failure, with code for what is no fault of the configuration.
func processFailure(err error, code api.ErrorCode) (status int, body *api.Error) {
	if errors.Is(err, ErrBusy) {
		return 409, &api.Error{Message: err.Error(), Code: api.ErrorCodeBusy}
	}
	if status, body = failure(err); status == 500 {
		body.Code = code
	}
	return status, body
}
