package impl

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/relay/state"
)

// Limits of bodies, in bytes. A configuration as payload is the largest there is; what goes into the
// storage is bounded by the store.
const (
	maxBody      = 64 << 20
	maxGuestBody = 64 << 10 // of a request that does not know the secret, or where there is none, comes from a foreign page
)

var storagePath = []byte("/storage/")

// most is how large a body may be, as its head says what it is for. No more than that is read.
func (c *Controller) most(h *fasthttp.RequestHeader, local bool) int {
	s := c.settings.Load()
	switch {
	case !local && !s.bearer(h.Peek("Authorization")), !local && !s.trusts(h):
		return maxGuestBody
	case h.IsPut() && bytes.HasPrefix(h.RequestURI(), storagePath):
		return state.MaxStored
	}
	return maxBody
}

// malformed answers a request that cannot be read.
func (c *Controller) malformed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		c.tooLarge(ctx)
	case errors.As(err, &small):
		refuse(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge)
		drain(ctx.Conn())
	default:
		refuse(ctx, fasthttp.StatusBadRequest)
	}
}

// refuse answers a request that is no request of the API, and ends its connection.
func refuse(ctx *fasthttp.RequestCtx, status int) {
	ctx.Error(fmt.Sprintf("%d %s", status, fasthttp.StatusMessage(status)), status)
	ctx.SetConnectionClose()
}

// tooLarge refuses a body that is larger than most says. Of a body in chunks the head is gone by now.
func (c *Controller) tooLarge(ctx *fasthttp.RequestCtx) {
	h, most := &ctx.Request.Header, 0
	if h.ContentLength() > 0 {
		most = c.most(h, isLocal(ctx))
	}
	c.settings.Load().cors(ctx)
	rt.FailTooLarge(ctx, most)
	drain(ctx.Conn())
}

// What is taken from a client whose body is refused: it may hear of it only once it has sent all, and
// closing a connection with bytes in it takes the answer away again.
const (
	drainBytes = 8 << 20
	drainTime  = time.Second
	drainPause = 50 * time.Millisecond // after which it is believed to have stopped
)

// drain throws away what a client sends, until it pauses.
func drain(conn net.Conn) {
	end := time.Now().Add(drainTime)
	buf := make([]byte, 16<<10)
	for n := 0; n < drainBytes && time.Now().Before(end); {
		if conn.SetReadDeadline(time.Now().Add(drainPause)) != nil {
			return
		}
		k, err := conn.Read(buf)
		if n += k; err != nil {
			return
		}
	}
}
