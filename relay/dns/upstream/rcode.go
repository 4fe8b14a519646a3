package upstream

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// coded answers every question with the same response code.
type coded uint8

func newRCode(s *nameserver.Server) coded { return coded(s.RCode) }

// Exchange asks nobody.
func (c coded) Exchange(_ context.Context, query []byte) ([]byte, error) {
	var q wire.Query
	if err := q.Parse(query); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	q.EDNS = false // no records
	resp := q.AppendEmpty(nil, uint16(c))
	flags := binary.BigEndian.Uint16(resp[2:]) &^ wire.FlagRA
	binary.BigEndian.PutUint16(resp[2:], flags)
	return resp, nil
}

// Close has nothing to end.
func (c coded) Close() error { return nil }
