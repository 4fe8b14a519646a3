package impl

import (
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/state"
)

// GetStored implements server.Handler.
func (c *Controller) GetStored(_ *fasthttp.RequestCtx, key string, w server.GetStoredW) rt.Reply {
	document, ok, err := c.o.Relay.Store().Stored(key)
	switch {
	case err != nil:
		return w.JSON503(storeFailed(err))
	case !ok:
		return w.JSON200([]byte("null"))
	}
	return w.JSON200(document)
}

// PutStored implements server.Handler.
func (c *Controller) PutStored(_ *fasthttp.RequestCtx, key string, body []byte, w server.PutStoredW) rt.Reply {
	err := c.o.Relay.Store().PutStored(key, body)
	switch {
	case errors.Is(err, state.ErrFull):
		return w.JSON507(&api.Error{Message: err.Error(), Code: api.ErrorCodeStorageFull})
	case err != nil:
		return w.JSON503(storeFailed(err))
	}
	return w.Empty204()
}

// DeleteStored implements server.Handler.
func (c *Controller) DeleteStored(_ *fasthttp.RequestCtx, key string, w server.DeleteStoredW) rt.Reply {
	if err := c.o.Relay.Store().DeleteStored(key); err != nil {
		return w.JSON503(storeFailed(err))
	}
	return w.Empty204()
}

func storeFailed(err error) *api.Error {
	return &api.Error{Message: err.Error(), Code: api.ErrorCodeStoreFailed}
}
