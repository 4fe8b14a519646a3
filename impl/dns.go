package impl

import (
	"context"
	"errors"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// questionTimeout bounds one answer. Name servers have less time, and say so themselves.
const questionTimeout = 10 * time.Second

// QueryDNS implements server.Handler.
func (c *Controller) QueryDNS(_ *fasthttp.RequestCtx, q server.QueryDNSQuery, w server.QueryDNSW) rt.Reply {
	kind, ok := recordType(q.Type)
	if !ok {
		return w.JSON400(&api.Error{Message: "invalid query type", Code: api.ErrorCodeQueryInvalid})
	}
	ctx, cancel := context.WithTimeout(c.ctx, questionTimeout)
	defer cancel()
	message, err := c.o.Relay.QueryDNS(ctx, q.Name, kind)
	if err != nil {
		return w.JSON500(resolveFailed(err))
	}
	var m miekg.Msg
	if err := m.Unpack(message); err != nil {
		return w.JSON500(resolveFailed(err))
	}
	return w.JSON200(dnsEntity(&m))
}

// recordType is the type that a mnemonic stands for. What one message cannot answer is none.
func recordType(mnemonic string) (kind uint16, ok bool) {
	kind, ok = miekg.StringToType[mnemonic]
	switch kind {
	case miekg.TypeNone, miekg.TypeReserved, wire.TypeOPT, wire.TypeAXFR, wire.TypeIXFR:
		return 0, false
	}
	return kind, ok
}

func resolveFailed(err error) *api.Error {
	e := &api.Error{Message: err.Error(), Code: api.ErrorCodeResolveFailed}
	switch {
	case errors.Is(err, dns.ErrDisabled):
		e.Code = api.ErrorCodeDNSDisabled
	case errors.Is(err, wire.ErrName):
		e.Code = api.ErrorCodeQueryInvalid
	case errors.Is(err, context.Canceled):
		e.Message = "the daemon stops"
	}
	return e
}

// dnsEntity is what the API shows of a message.
func dnsEntity(m *miekg.Msg) *api.DNSMessage {
	e := &api.DNSMessage{
		AD: m.AuthenticatedData, CD: m.CheckingDisabled, RA: m.RecursionAvailable, RD: m.RecursionDesired,
		TC: m.Truncated, Status: m.Rcode,
		Answer: dnsRecords(m.Answer), Authority: dnsRecords(m.Ns), Additional: dnsRecords(m.Extra),
	}
	for _, q := range m.Question {
		e.Question = append(e.Question, api.DNSQuestion{Name: q.Name, Qtype: int(q.Qtype), Qclass: int(q.Qclass)})
	}
	return e
}

// dnsRecords are the records of a section but for that of EDNS, which says nothing of the name.
func dnsRecords(section []miekg.RR) (list []api.DNSRecord) {
	for _, r := range section {
		h := r.Header()
		if h.Rrtype == miekg.TypeOPT {
			continue
		}
		list = append(list, api.DNSRecord{
			Name: h.Name, Type: int(h.Rrtype), TTL: int64(h.Ttl),
			Data: recordData(r),
		})
	}
	return list
}

// recordData is the data of a record as in a zone file, where it stands behind name, TTL, class and
// type.
func recordData(r miekg.RR) string {
	if fields := strings.SplitN(r.String(), "\t", 5); len(fields) == 5 {
		return fields[4]
	}
	return ""
}

// FlushDNS implements server.Handler.
func (c *Controller) FlushDNS(_ *fasthttp.RequestCtx, w server.FlushDNSW) rt.Reply {
	if err := c.o.Relay.FlushDNS(); err != nil {
		_, e := failure(err)
		return w.JSON500(e)
	}
	return w.Empty204()
}

// FlushFakeIP implements server.Handler.
func (c *Controller) FlushFakeIP(_ *fasthttp.RequestCtx, w server.FlushFakeIPW) rt.Reply {
	if err := c.o.Relay.FlushFakeIP(); err != nil {
		_, e := failure(err)
		return w.JSON500(e)
	}
	return w.Empty204()
}
