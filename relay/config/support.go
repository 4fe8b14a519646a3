package config

import (
	"runtime"
	"strings"
)

// checkSupport says which features of the family this version has not got. One that is switched on
// is an error: traffic would go another way than the file says. One that changes nothing here is a
// note.
func (c *Config) checkSupport(d *decoder) {
	for _, f := range []struct {
		on  bool
		key string
	}{
		{c.TUN.Enable, "tun"},
		{c.Sniffer.Enable, "sniffer"},
		{c.TUIC.Enable, "tuic-server"},
		{c.NTP.Enable, "ntp"},
		{c.IPTables.Enable, "iptables"},
	} {
		if f.on {
			d.report(Error, d.places[f.key], f.key, "not supported yet", "")
		} else {
			c.note(d, f.key, "is switched off, and changes nothing")
		}
	}
	for _, f := range []struct {
		on  bool
		key string
	}{
		{c.RedirPort != 0, "redir-port"},
		{c.TProxyPort != 0, "tproxy-port"},
		{c.SSConfig != "", "ss-config"},
		{c.VmessConfig != "", "vmess-config"},
		{len(c.Listeners) > 0, "listeners"},
		{len(c.Tunnels) > 0, "tunnels"},
	} {
		if f.on {
			d.report(Error, d.places[f.key], f.key, "not supported yet", "")
		}
	}
	for _, f := range []struct {
		on  bool
		key string
	}{
		{c.TLS.ECHKey != "", "tls.ech-key"},
		{c.Controller.RoutingMark != 0, "external-controller-routing-mark"},
	} {
		if f.on {
			section, _, _ := strings.Cut(f.key, ".")
			d.report(Warning, d.places[section], f.key, "not supported yet, and left out", "")
		}
	}
	for _, key := range []string{"geodata-loader", "geosite-matcher", "clash-for-android", "experimental", "global-client-fingerprint"} {
		c.note(d, key, "changes nothing here")
	}
	c.checkPipe(d, runtime.GOOS)
}

// note says something of a key of the top level, where the file has it.
func (c *Config) note(d *decoder, key, text string) {
	if at, there := d.places[key]; there {
		d.report(Note, at, key, text, "")
	}
}
