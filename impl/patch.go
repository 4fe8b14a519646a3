package impl

import (
	"strconv"
	"strings"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/config"
)

// patchTUN edits the virtual interface. A key that is absent stays as it is, enable too.
func patchTUN(n *config.TUN, t *api.TunPatch) {
	set(&n.Enable, t.Enable)
	set(&n.Device, t.Device)
	if t.Stack != nil {
		n.Stack = stackName(*t.Stack)
	}
	set(&n.DNSHijack, t.DNSHijack)
	set(&n.AutoRoute, t.AutoRoute)
	set(&n.AutoDetectInterface, t.AutoDetectInterface)
	set(&n.AutoRedirect, t.AutoRedirect)
	setInt(&n.AutoRedirectInputMark, t.AutoRedirectInputMark)
	setInt(&n.AutoRedirectOutputMark, t.AutoRedirectOutputMark)
	set(&n.StrictRoute, t.StrictRoute)
	setInt(&n.MTU, t.Mtu)
	set(&n.GSO, t.Gso)
	setInt(&n.GSOMaxSize, t.GsoMaxSize)
	set(&n.Inet6Address, t.Inet6Address)
	setInt(&n.TableIndex, t.Iproute2TableIndex)
	setInt(&n.RuleIndex, t.Iproute2RuleIndex)
	setInt(&n.UDPTimeout, t.UDPTimeout)
	set(&n.EndpointIndependentNAT, t.EndpointIndependentNat)
	setInt(&n.FileDescriptor, t.FileDescriptor)
	set(&n.RouteAddress, t.RouteAddress)
	set(&n.RouteAddressSet, t.RouteAddressSet)
	set(&n.RouteExclude, t.RouteExcludeAddress)
	set(&n.RouteExcludeSet, t.RouteExcludeAddressSet)
	set(&n.Inet4Route, t.Inet4RouteAddress)
	set(&n.Inet6Route, t.Inet6RouteAddress)
	set(&n.Inet4RouteExclude, t.Inet4RouteExcludeAddress)
	set(&n.Inet6RouteExclude, t.Inet6RouteExcludeAddress)
	set(&n.IncludeInterface, t.IncludeInterface)
	set(&n.ExcludeInterface, t.ExcludeInterface)
	setNumbers(&n.IncludeUID, t.IncludeUID)
	set(&n.IncludeUIDRange, t.IncludeUIDRange)
	setNumbers(&n.ExcludeUID, t.ExcludeUID)
	set(&n.ExcludeUIDRange, t.ExcludeUIDRange)
	setNumbers(&n.IncludeAndroidUser, t.IncludeAndroidUser)
	set(&n.IncludePackage, t.IncludePackage)
	set(&n.ExcludePackage, t.ExcludePackage)
}

// patchTUIC edits the TUIC inbound in the same way.
func patchTUIC(n *config.TUICServer, t *api.TuicServerPatch) {
	set(&n.Enable, t.Enable)
	set(&n.Listen, t.Listen)
	set(&n.Token, t.Token)
	set(&n.Certificate, t.Certificate)
	set(&n.PrivateKey, t.PrivateKey)
	set(&n.CongestionController, t.CongestionController)
	setInt(&n.MaxIdleTime, t.MaxIdleTime)
	setInt(&n.AuthenticationTimeout, t.AuthenticationTimeout)
	set(&n.ALPN, t.Alpn)
	setInt(&n.MaxUDPRelayPacketSize, t.MaxUDPRelayPacketSize)
	setInt(&n.CWND, t.Cwnd)
}

// set puts a value in its place, where there is one.
func set[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

func setInt[T int32 | int64](to *int, v *T) {
	if v != nil {
		*to = int(*v)
	}
}

func setNumbers(to *[]string, v *[]int) {
	if v == nil {
		return
	}
	list := make([]string, len(*v))
	for i, n := range *v {
		list[i] = strconv.Itoa(n)
	}
	*to = list
}

// stackName is how the API and the file spell a stack, from a word in any case.
func stackName(s string) string {
	for _, name := range []string{"gVisor", "System", "Mixed"} {
		if strings.EqualFold(s, name) {
			return name
		}
	}
	return s
}
