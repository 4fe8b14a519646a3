package impl

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// TestProxy implements server.Handler. That somebody does not wait for the answer ends no test.
func (c *Controller) TestProxy(_ *fasthttp.RequestCtx, name string, q server.TestProxyQuery, w server.TestProxyW) rt.Reply {
	return c.testNode(c.find(name), q, w)
}

// tested is how a test of one node is answered.
type tested interface {
	JSON200(v *api.TestedDelay) rt.Reply
	JSON400(v *api.Error) rt.Reply
	JSON404(v *api.Error) rt.Reply
	JSON503(v *api.Error) rt.Reply
	JSON504(v *api.Error) rt.Reply
}

// testNode tests o, where there is one, and answers.
func (c *Controller) testNode(o outbound.Outbound, q server.TestProxyQuery, w tested) rt.Reply {
	if o == nil {
		return w.JSON404(notFound)
	}
	timeout, expected, bad := testParameters(q.Timeout, q.Expected)
	if bad != nil {
		return w.JSON400(bad)
	}
	delay, err := c.o.Relay.TestProxy(c.ctx, o, health.Probe{URL: q.URL, Expected: expected}, timeout)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return w.JSON504(&api.Error{Message: "Timeout", Code: api.ErrorCodeTestTimeout})
	case err != nil:
		return w.JSON503(testFailed(err))
	}
	return w.JSON200(&api.TestedDelay{Delay: int(delay)})
}

// testFailed says why. Panels look for the first words.
func testFailed(err error) *api.Error {
	why := err.Error()
	if errors.Is(err, context.Canceled) {
		why = "the daemon stops"
	}
	return &api.Error{Message: "An error occurred in the delay test: " + why, Code: api.ErrorCodeTestFailed}
}

// testParameters reads the parameters of a test: milliseconds, and statuses.
func testParameters(timeout, expected string) (time.Duration, health.Status, *api.Error) {
	n, err := strconv.ParseInt(timeout, 10, 32)
	if err != nil {
		return 0, health.Status{}, bodyInvalid("")
	}
	status, err := health.ParseStatus(expected)
	if err != nil {
		return 0, health.Status{}, bodyInvalid(err.Error())
	}
	return time.Duration(n) * time.Millisecond, status, nil
}

// TestGroup implements server.Handler.
func (c *Controller) TestGroup(_ *fasthttp.RequestCtx, name string, q server.TestGroupQuery, w server.TestGroupW) rt.Reply {
	g := c.findGroup(name)
	if g == nil {
		return w.JSON404(notFound)
	}
	url, wanted := groupTest(g, q.URL, q.Expected)
	timeout, expected, bad := testParameters(q.Timeout, wanted)
	if bad != nil {
		return w.JSON400(bad)
	}
	c.unpinFor(g, url)
	delays, err := worked(c.o.Relay.TestGroup(c.ctx, g, health.Probe{URL: url, Expected: expected}, timeout))
	if len(delays) == 0 {
		return w.JSON504(noneWorked(err))
	}
	return w.JSON200(&delays)
}

// groupTest is what the members of a group are tested with where a URL and statuses are asked for. A
// url-test group has a URL of its own; with the group's URL the statuses it wants are expected, unless
// others are asked for.
func groupTest(g group.Group, askedURL, asked string) (url, expected string) {
	conf := g.Config()
	url, expected = askedURL, asked
	if _, ok := g.(*group.URLTest); ok {
		url = conf.TestURL
	}
	if expected == "" && url == conf.TestURL {
		expected = conf.Expected
	}
	return url, expected
}

// unpinFor lets a group choose by itself again before its members are tested with a URL.
func (c *Controller) unpinFor(g group.Group, url string) {
	if health.CheckURL(url) == nil {
		c.o.Relay.Unpin(g.Info().Name)
	}
}

// worked is what the tests that worked found, and why the first of the others did not.
func worked(results []health.Result) (delays api.DelayMap, failed error) {
	delays = make(api.DelayMap, len(results))
	for _, r := range results {
		if r.Err == nil {
			delays[r.Node.Info().Name] = int(r.Delay)
		} else if failed == nil {
			failed = r.Err
		}
	}
	return delays, failed
}

// noneWorked is the family's word for it. That there was no test at all is told too.
func noneWorked(err error) *api.Error {
	e := &api.Error{Message: "get delay: all proxies timeout", Code: api.ErrorCodeTestFailed}
	if errors.Is(err, health.ErrURL) || errors.Is(err, health.ErrBusy) {
		e.Message += ": " + err.Error()
	}
	return e
}

// GetHealthChecks implements server.Handler.
func (c *Controller) GetHealthChecks(_ *fasthttp.RequestCtx, w server.GetHealthChecksW) rt.Reply {
	plan := c.o.Relay.HealthPlan()
	a := &api.HealthPlan{
		Most: plan.Most, InFlight: checks(plan.InFlight), Queue: checks(plan.Queue),
		Next: make([]api.PlannedCheck, 0, len(plan.Next)),
	}
	for _, d := range plan.Next {
		a.Next = append(a.Next, api.PlannedCheck{Name: d.Name, URL: d.URL, At: d.At, Lazy: d.Lazy})
	}
	return w.JSON200(a)
}

func checks(pairs []health.Pair) []api.HealthCheck {
	list := make([]api.HealthCheck, 0, len(pairs))
	for _, p := range pairs {
		list = append(list, api.HealthCheck{Name: p.Name, URL: p.URL})
	}
	return list
}
