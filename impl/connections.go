package impl

import (
	"net/netip"
	"strconv"
	"sync"
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
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := s.SendRaw(c.snapshot.bytes(c.appendConnections)); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-s.Done():
				return nil
			}
		}
	})
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

// snapshots lets streams that ask at about the same time share one encoding.
type snapshots struct {
	mu   sync.Mutex
	at   time.Time
	last []byte
}

// freshness is how old a snapshot for a stream may be; streams ask every 50 ms at the most.
const freshness = 25 * time.Millisecond

// bytes returns a snapshot and a newline. Nobody changes them afterwards.
func (s *snapshots) bytes(encode func([]byte) []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.at) > freshness {
		s.last = append(encode(make([]byte, 0, len(s.last)+len(s.last)/8)), '\n')
		s.at = now
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
		conn := connectionEntity(e, e.Places(c.o.Relay.Place))
		b = conn.AppendJSON(b)
	}
	up, down := table.Totals()
	b = strconv.AppendInt(append(b, `],"downloadTotal":`...), down, 10)
	b = strconv.AppendInt(append(b, `,"uploadTotal":`...), up, 10)
	b = strconv.AppendInt(append(b, `,"memory":`...), c.memory.inUse(), 10)
	return append(b, '}')
}

// connectionEntity is what the API shows of a flow.
func connectionEntity(e *track.Entry, at *track.Places) api.Connection {
	f := e.Flow
	return api.Connection{
		ID: e.ID.String(), Start: e.Start, Upload: e.Up.Load(), Download: e.Down.Load(),
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
