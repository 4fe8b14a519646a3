package impl

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// GetConnections implements server.Handler: one snapshot, or one every interval on a WebSocket.
func (c *Controller) GetConnections(_ *fasthttp.RequestCtx, q server.GetConnectionsQuery, w server.GetConnectionsW) rt.Reply {
	if !w.IsUpgrade() {
		return w.JSON200Append(c.appendConnections)
	}
	every := time.Duration(q.Interval) * time.Millisecond
	return w.Stream(func(s server.ConnectionsStream) error {
		tick := time.NewTimer(0)
		defer tick.Stop()
		from := time.Now().Add(-freshness)
		next := c.tickAfter(time.Now().Add(every/2), every) // not right behind the first message
		for {
			select {
			case <-tick.C:
			case <-s.Done():
				return nil
			}
			if err := s.SendRaw(c.snapshot.since(from, c.appendConnections)); err != nil {
				return err
			}
			if now := time.Now(); next.Before(now) { // the reader is slow
				next = c.tickAfter(now, every)
			}
			tick.Reset(time.Until(next))
			from, next = next, next.Add(every)
		}
	})
}

// tickAfter is the first tick after t. All streams with one interval have their ticks at the same time, so that
// they share what is sent.
func (c *Controller) tickAfter(t time.Time, every time.Duration) time.Time {
	return c.began.Add((t.Sub(c.began)/every + 1) * every)
}

// CloseAllConnections implements server.Handler.
func (c *Controller) CloseAllConnections(_ *fasthttp.RequestCtx, w server.CloseAllConnectionsW) rt.Reply {
	c.o.Relay.Table().EndAll(track.ByAPI)
	return w.Empty204()
}

// CloseConnection implements server.Handler. A connection that is gone is no error: people click
// twice.
func (c *Controller) CloseConnection(_ *fasthttp.RequestCtx, id string, w server.CloseConnectionW) rt.Reply {
	if e := c.o.Relay.Table().Find(id); e != nil {
		e.End(track.ByAPI)
	}
	return w.Empty204()
}

// snapshots lets the streams that have a tick at the same time share one encoding.
type snapshots struct {
	mu   sync.Mutex
	at   time.Time
	last []byte

	encoded atomic.Int64 // how many were made
}

// freshness is how old the first snapshot of a stream may be.
const freshness = 25 * time.Millisecond

// since returns a snapshot that is not from before t, and a newline. Nobody changes them afterwards.
func (s *snapshots) since(t time.Time, encode func([]byte) []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.Before(t) {
		s.at = time.Now()
		s.last = append(encode(make([]byte, 0, len(s.last)+len(s.last)/8)), '\n')
		s.encoded.Add(1)
	}
	return s.last
}

// appendConnections appends the live connections, oldest first, and the totals.
func (c *Controller) appendConnections(b []byte) []byte {
	table := c.o.Relay.Table()
	b = append(b, `{"connections":[`...)
	for i, e := range table.Live(nil) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendConnection(b, e, e.Places(c.o.Relay.Place))
	}
	up, down := table.Totals()
	b = strconv.AppendInt(append(b, `],"downloadTotal":`...), down, 10)
	b = strconv.AppendInt(append(b, `,"uploadTotal":`...), up, 10)
	b = strconv.AppendInt(append(b, `,"memory":`...), c.memory.inUse(), 10)
	return append(b, '}')
}

// appendConnection appends a flow: its counters, in what has been written of it before.
func appendConnection(b []byte, e *track.Entry, at *track.Places) []byte {
	text := e.Text(at, connectionText)
	b = strconv.AppendInt(append(b, text[0]...), e.Down.Load(), 10)
	b = strconv.AppendInt(append(b, text[1]...), e.Up.Load(), 10)
	return append(b, text[2]...)
}

// connectionText is the JSON of a flow in three parts, between which download and upload come. No string
// within holds what is looked for: quotes are escaped there.
func connectionText(e *track.Entry, at *track.Places) []string {
	const download, upload = `"download":`, `"upload":`
	if at == nil {
		at = new(track.Places)
	}
	conn := connectionEntity(e, at)
	first, rest, _ := strings.Cut(string(conn.AppendJSON(nil)), download+"0")
	middle, last, _ := strings.Cut(rest, upload+"0")
	return []string{first + download, middle + upload, last}
}

// connectionEntity is what the API shows of a flow, without its counters.
func connectionEntity(e *track.Entry, at *track.Places) api.Connection {
	f := e.Flow
	return api.Connection{
		ID: e.ID.String(), Start: e.Start,
		Chains: e.Chain, ProviderChains: e.ProviderChain, Rule: e.Rule, RulePayload: e.RulePayload,
		Metadata: api.Metadata{
			Network: api.Network(f.Network.String()), Type: api.InboundType(f.Kind.String()),
			SourceGeoIP: at.Source.Countries, SourceIPASN: at.Source.System,
			DestinationGeoIP: at.Target.Countries, DestinationIPASN: at.Target.System,
			SourceIP: address(f.Source.Addr()), SourcePort: port(f.Source.Port()),
			DestinationIP: address(f.To.IP), DestinationPort: port(f.To.Port),
			InboundIP: address(f.Local.Addr()), InboundPort: port(f.Local.Port()),
			InboundName: f.Inbound, InboundUser: f.User, Host: f.To.Host,
			Process: f.Process.Name(), ProcessPath: f.Process.Path, UID: int64(f.Process.UID),
			DNSMode: api.DNSMode(f.DNSMode.String()), RemoteDestination: e.Remote, Dscp: int(f.DSCP),
		},
	}
}

func address(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

func port(n uint16) string { return strconv.Itoa(int(n)) }
