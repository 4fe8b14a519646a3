package impl

import (
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
)

// ListRules implements server.Handler.
func (c *Controller) ListRules(_ *fasthttp.RequestCtx, w server.ListRulesW) rt.Reply {
	program := c.o.Relay.Program()
	return w.JSON200Append(func(b []byte) []byte {
		b = append(b, `{"rules":[`...)
		for i := range program.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			info := program.Info(i)
			r := api.Rule{
				Index: i, Type: api.RuleType(info.Type), Payload: info.Payload, Proxy: info.Target, Size: info.Size,
			}
			b = r.AppendJSON(b)
		}
		return append(b, "]}"...)
	})
}
