package impl

import (
	"net/netip"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/config"
)

// GetConfigs implements server.Handler.
func (c *Controller) GetConfigs(ctx *fasthttp.RequestCtx, w server.GetConfigsW) rt.Reply {
	now, revision := c.o.Relay.Revision()
	c.settings.Load().tag(ctx, revision)
	if has := condition(ctx, "If-None-Match", true); has != nil && has(revision) {
		return w.Empty304()
	}
	return w.JSON200(configEntity(now, c.o.Version))
}

// PatchConfigs implements server.Handler.
func (c *Controller) PatchConfigs(ctx *fasthttp.RequestCtx, body *api.ConfigPatch, w server.PatchConfigsW) rt.Reply {
	var bad *api.Error
	err := c.o.Relay.Patch(condition(ctx, "If-Match", false), func(n *config.Config) error {
		bad = patch(n, body)
		if bad != nil {
			return errPatch
		}
		return nil
	})
	if bad != nil {
		return w.JSON400(bad)
	}
	if err != nil {
		switch status, e := failure(err); status {
		case 400:
			return w.JSON400(e)
		case 412:
			return w.JSON412(e)
		default:
			return w.JSON500(e)
		}
	}
	return w.Empty204()
}

// ReplaceConfigs implements server.Handler.
func (c *Controller) ReplaceConfigs(ctx *fasthttp.RequestCtx, q server.ReplaceConfigsQuery, body *api.ConfigSource, w server.ReplaceConfigsW) rt.Reply {
	if err := c.o.Relay.Load(body.Path, body.Payload, q.Force, condition(ctx, "If-Match", false)); err != nil {
		switch status, e := failure(err); status {
		case 400:
			return w.JSON400(e)
		case 412:
			return w.JSON412(e)
		default:
			return w.JSON500(e)
		}
	}
	return w.Empty204()
}

// tag names the configuration of an answer, also to pages.
func (s *settings) tag(ctx *fasthttp.RequestCtx, revision string) {
	h := &ctx.Response.Header
	h.Set("ETag", `"`+revision+`"`)
	if len(h.Peek("Access-Control-Allow-Origin")) > 0 {
		h.Set("Access-Control-Expose-Headers", "ETag")
	}
}

// patch edits n as body says. What it returns is what is wrong with body.
func patch(n *config.Config, body *api.ConfigPatch) *api.Error {
	set(&n.Port, body.Port)
	set(&n.SocksPort, body.SocksPort)
	set(&n.MixedPort, body.MixedPort)
	set(&n.RedirPort, body.RedirPort)
	set(&n.TProxyPort, body.TproxyPort)
	set(&n.SSConfig, body.SsConfig)
	set(&n.VmessConfig, body.VmessConfig)
	set(&n.AllowLAN, body.AllowLan)
	set(&n.BindAddress, body.BindAddress)
	set(&n.IPv6, body.Ipv6)
	set(&n.TCPConcurrent, body.TCPConcurrent)
	set(&n.InterfaceName, body.InterfaceName)
	if body.Mode != nil {
		n.Mode, _ = config.ParseMode(*body.Mode) // the contract has checked it
	}
	if body.LogLevel != nil {
		n.LogLevel, _ = config.ParseLogLevel(*body.LogLevel)
	}
	if body.Sniffing != nil && *body.Sniffing {
		n.Sniffer.Enable = true // which this version refuses, by its name
	}
	if body.Tun != nil {
		patchTUN(&n.TUN, body.Tun)
	}
	if body.TuicServer != nil {
		patchTUIC(&n.TUIC, body.TuicServer)
	}
	for _, p := range []struct {
		to   *[]netip.Prefix
		from *[]string
		key  string
	}{
		{&n.SkipAuthPrefixes, body.SkipAuthPrefixes, "skip-auth-prefixes"},
		{&n.LANAllowed, body.LanAllowedIps, "lan-allowed-ips"},
		{&n.LANDisallowed, body.LanDisallowedIps, "lan-disallowed-ips"},
	} {
		if p.from == nil {
			continue
		}
		list, bad := prefixes(*p.from)
		if bad != "" {
			return bodyInvalid(p.key + ": want a prefix such as 192.168.0.0/16, got \"" + bad + "\"")
		}
		*p.to = list
	}
	return nil
}

func prefixes(texts []string) (list []netip.Prefix, bad string) {
	list = make([]netip.Prefix, 0, len(texts))
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, s
		}
		list = append(list, p.Masked())
	}
	return list, ""
}

// configEntity is what the API shows of a configuration: never a secret.
func configEntity(c *config.Config, version string) *api.Config {
	e := &api.Config{
		Port: c.Port, SocksPort: c.SocksPort, MixedPort: c.MixedPort, RedirPort: c.RedirPort, TproxyPort: c.TProxyPort,
		SsConfig: c.SSConfig, VmessConfig: c.VmessConfig,
		AllowLan: c.AllowLAN, BindAddress: c.BindAddress, InboundTfo: c.InboundTFO, InboundMptcp: c.InboundMPTCP,
		SkipAuthPrefixes: texts(c.SkipAuthPrefixes), LanDisallowedIps: texts(c.LANDisallowed),
		LanAllowedIps: []string{"0.0.0.0/0", "::/0"},
		Mode:          api.Mode(c.Mode), LogLevel: api.LogLevel(c.LogLevel), Ipv6: c.IPv6, UnifiedDelay: c.UnifiedDelay,
		TCPConcurrent: c.TCPConcurrent, FindProcessMode: api.FindProcessMode(c.FindProcessMode),
		InterfaceName: c.InterfaceName, RoutingMark: int64(c.RoutingMark),
		GlobalClientFingerprint: c.GlobalClientFingerprint, GlobalUa: c.GlobalUA, EtagSupport: c.ETagSupport,
		KeepAliveIdle: int(c.KeepAliveIdle / time.Second), KeepAliveInterval: int(c.KeepAliveInterval / time.Second),
		DisableKeepAlive: c.DisableKeepAlive, Sniffing: c.Sniffer.Enable,
		GeodataMode: c.Geo.Mode, GeodataLoader: c.Geo.Loader, GeositeMatcher: c.Geo.Matcher,
		GeoAutoUpdate: c.Geo.AutoUpdate, GeoUpdateInterval: c.Geo.UpdateInterval,
		GeoxURL: api.GeoURLs{GeoIP: c.Geo.URLs.GeoIP, Mmdb: c.Geo.URLs.MMDB, Asn: c.Geo.URLs.ASN, GeoSite: c.Geo.URLs.GeoSite},
		Tun: api.Tun{
			Enable: c.TUN.Enable, Device: c.TUN.Device, Stack: api.TunStack(c.TUN.Stack), DNSHijack: c.TUN.DNSHijack,
			AutoRoute: c.TUN.AutoRoute, AutoDetectInterface: c.TUN.AutoDetectInterface, FileDescriptor: int32(c.TUN.FileDescriptor),
		},
		TuicServer: api.TuicServer{Enable: c.TUIC.Enable, Listen: c.TUIC.Listen},
	}
	if c.LANAllowed != nil {
		e.LanAllowedIps = texts(c.LANAllowed)
	}
	if c.TUN.MTU != 0 {
		mtu := int32(c.TUN.MTU)
		e.Tun.Mtu = &mtu
	}
	if e.GlobalUa == "" {
		e.GlobalUa = "switchyard/" + strings.TrimPrefix(version, "v")
	}
	for _, u := range c.Authentication {
		e.Authentication = append(e.Authentication, u.Name)
	}
	return e
}

func texts(ps []netip.Prefix) []string {
	if ps == nil {
		return nil
	}
	list := make([]string, len(ps))
	for i, p := range ps {
		list[i] = p.String()
	}
	return list
}
