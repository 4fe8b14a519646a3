package impl

import (
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/state"
)

// GetReadiness implements server.Handler.
func (c *Controller) GetReadiness(_ *fasthttp.RequestCtx, w server.GetReadinessW) rt.Reply {
	r := &api.Readiness{Status: api.ReadinessStatusOk, Components: map[string]api.Component{
		"store": storeComponent(c.o.Relay.Store().Health()),
	}}
	for _, component := range r.Components {
		if component.Status != api.ReadinessStatusOk {
			r.Status = component.Status
		}
	}
	return w.JSON200(r)
}

// component is one that is well where nothing is wrong with it, else one that has been degraded since then.
func component(wrong []string, since time.Time) api.Component {
	if len(wrong) == 0 {
		return api.Component{Status: api.ReadinessStatusOk}
	}
	message := strings.Join(wrong, "; ")
	return api.Component{Status: api.ReadinessStatusDegraded, Message: &message, Since: &since}
}

func storeComponent(h state.Health) api.Component {
	var wrong []string
	since := h.Since
	if h.Err != nil {
		wrong = append(wrong, h.Err.Error())
	}
	switch {
	case h.Err == nil || h.Unsaved == 0: // else it is a moment until they are
	case h.Unsaved == 1:
		wrong = append(wrong, "1 choice is not stored yet")
	default:
		wrong = append(wrong, fmt.Sprintf("%d choices are not stored yet", h.Unsaved))
	}
	if h.PutAside != "" {
		wrong = append(wrong, "the file was damaged and began anew: what it held is in "+h.PutAside)
		if h.Err == nil || h.PutAsideAt.Before(since) {
			since = h.PutAsideAt
		}
	}
	return component(wrong, since)
}
