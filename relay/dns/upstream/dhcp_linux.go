package upstream

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// findServers asks the DHCP servers at device for an offer, takes the first, and leaves it at that: the
// address in it is free again soon.
func findServers(ctx context.Context, device string) (offer, error) {
	const tries, wait = 3, findTime / 4 // the last wait is as long as ctx has
	c, err := nclient4.New(device, nclient4.WithRetry(tries), nclient4.WithTimeout(wait))
	if errors.Is(err, fs.ErrPermission) {
		return offer{}, errRights
	}
	if err != nil {
		return offer{}, err
	}
	defer c.Close()
	m, err := c.DiscoverOffer(ctx,
		dhcpv4.WithRequestedOptions(dhcpv4.OptionDomainNameServer), dhcpv4.WithBroadcast(true))
	switch {
	case errors.Is(err, nclient4.ErrNoResponse), errors.Is(err, context.DeadlineExceeded):
		return offer{}, errors.New("no DHCP server answers")
	case err != nil:
		return offer{}, err
	}
	o := offer{lease: m.IPAddressLeaseTime(0)}
	for _, b := range m.DNS() {
		if ip, ok := netip.AddrFromSlice(b); ok {
			o.servers = append(o.servers, ip.Unmap())
		}
	}
	return o, nil
}
