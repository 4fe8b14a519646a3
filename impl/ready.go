package impl

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/state"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
)

// GetLiveness implements server.Handler.
func (c *Controller) GetLiveness(_ *fasthttp.RequestCtx, w server.GetLivenessW) rt.Reply {
	return w.Text200(func(b []byte) []byte { return append(b, "ok"...) })
}

// GetReadiness implements server.Handler. What is wrong is for those who know the secret.
func (c *Controller) GetReadiness(ctx *fasthttp.RequestCtx, w server.GetReadinessW) rt.Reply {
	v := c.o.Relay.Vitals()
	r := c.readiness(v)
	if !c.authenticate(ctx, rt.SchemeBearer) {
		r.Components = nil
	}
	if v.Phase == vitals.Serving {
		return w.JSON200(r)
	}
	return w.JSON503(r)
}

func (c *Controller) readiness(v *vitals.Vitals) *api.Readiness {
	parts := map[string]api.Component{"store": storeComponent(c.o.Relay.Store().Health())}
	if v.Phase != vitals.Starting {
		parts["listeners"] = listenersComponent(v.Inbounds, c.listening())
		parts["dns"] = dnsComponent(&v.DNS)
		parts["config"] = configComponent(&v.Reloads)
		parts["proxy-providers"] = providersComponent(v.Providers, "proxy")
		parts["rule-providers"] = providersComponent(v.Providers, "rule")
		parts["geo"] = geoComponent(v.Geo)
		parts["planner"] = plannerComponent(v)
	}
	r := &api.Readiness{Status: api.ReadinessStatusOk, Components: parts}
	for _, part := range parts {
		if part.Status != api.ReadinessStatusOk {
			r.Status = part.Status
		}
	}
	switch v.Phase {
	case vitals.Starting:
		r.Status = api.ReadinessStatusStarting
	case vitals.Stopping:
		r.Status = api.ReadinessStatusStopping
	}
	return r
}

// component is one that is well where nothing is wrong with it, else one that has been degraded since then; a
// zero time is that nobody knows since when.
func component(wrong []string, since time.Time) api.Component {
	if len(wrong) == 0 {
		return api.Component{Status: api.ReadinessStatusOk}
	}
	message := strings.Join(wrong, "; ")
	p := api.Component{Status: api.ReadinessStatusDegraded, Message: &message}
	if !since.IsZero() {
		p.Since = &since
	}
	return p
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

// listenersComponent is about the ports of inbounds and of the controller itself.
func listenersComponent(lists ...[]vitals.Listener) api.Component {
	var wrong []string
	for _, list := range lists {
		for _, l := range list {
			if !l.Serving {
				wrong = append(wrong, fmt.Sprintf("%s (%s) is not served any more", l.Addr, l.Network))
			}
		}
	}
	return component(wrong, time.Time{})
}

func dnsComponent(d *vitals.DNS) api.Component {
	if d.Enabled && d.Listen != "" && !d.Serving {
		return component([]string{d.Listen + " is not listened on"}, time.Time{})
	}
	return component(nil, time.Time{})
}

// configComponent is about the last reload. What runs is then as it was before.
func configComponent(r *vitals.Reloads) api.Component {
	if r.Err == nil {
		return component(nil, time.Time{})
	}
	step := cmp.Or(r.Step, "read")
	if _, ok := errors.AsType[*config.Invalid](r.Err); ok {
		step = "validate"
	}
	text, more, _ := strings.Cut(r.Err.Error(), "\n")
	if more != "" {
		text += fmt.Sprintf(" (and %d more)", 1+strings.Count(more, "\n"))
	}
	p := component([]string{"the last reload failed, what ran before goes on: " + text}, r.FailedAt)
	p.Step = &step
	return p
}

// shownNames is how many names a message has.
const shownNames = 5

// some are the first of list, and how many more there are.
func some(list []string) string {
	text := strings.Join(list[:min(len(list), shownNames)], ", ")
	if more := len(list) - shownNames; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// providersComponent is about the providers of one kind. One that has something is well: it is tried again.
func providersComponent(all []vitals.Provider, kind string) api.Component {
	var empty []string
	total, failed := 0, 0
	for _, p := range all {
		if p.Kind != kind {
			continue
		}
		total++
		if p.Err != nil {
			failed++
		}
		if !p.Loaded {
			empty = append(empty, fmt.Sprintf("%q", p.Name))
		}
	}
	var wrong []string
	if len(empty) > 0 {
		wrong = append(wrong, "nothing is known yet of "+some(empty))
	}
	p := component(wrong, time.Time{})
	p.Total, p.Failed = &total, &failed
	return p
}

func geoComponent(list []vitals.Geo) api.Component {
	var absent []string
	for _, g := range list {
		if !g.Loaded {
			absent = append(absent, g.Name)
		}
	}
	if absent == nil {
		return component(nil, time.Time{})
	}
	return component([]string{"rules that need it do not match: " + some(absent) + " cannot be read yet"}, time.Time{})
}

func plannerComponent(v *vitals.Vitals) api.Component {
	var wrong []string
	if v.Tests.Busy {
		wrong = append(wrong, "so many health checks wait that more are refused")
	}
	p := component(wrong, time.Time{})
	p.Queued = &v.Tests.Queued
	return p
}
