package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestDifferences compares texts: every key that differs is named, and no value that may be a secret is told.
func TestDifferences(t *testing.T) {
	f := func(before, after, want string) {
		t.Helper()
		parse := func(text string) *Config {
			c, diags := Parse("test", []byte(text))
			if c == nil {
				t.Fatal(diags)
			}
			return c
		}
		var got []string
		for _, d := range Differences(parse(before), parse(after)) {
			if d.Shown {
				got = append(got, fmt.Sprintf("%s:%s>%s", d.Key, d.Before, d.After))
			} else {
				got = append(got, d.Key)
			}
			if !d.Shown && d.Before+d.After != "" || strings.Contains(fmt.Sprint(d), "hunter2") {
				t.Errorf("%+v", d)
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s; want %s", text, want)
		}
	}
	f("mixed-port: 1", "\n\nmixed-port: 1", "")
	// Ports, words, switches, times and prefixes are told.
	f("mixed-port: 1", "mode: global\nipv6: false\nallow-lan: true\nkeep-alive-idle: 30",
		"mixed-port:1>0 allow-lan:false>true mode:rule>global ipv6:true>false keep-alive-idle:0s>30s")
	f("lan-allowed-ips: [10.0.0.0/8]", "lan-allowed-ips: [10.0.0.0/8, 192.168.0.0/16]", "lan-allowed-ips:[10.0.0.0/8]>[10.0.0.0/8 192.168.0.0/16]")
	f("external-controller: 127.0.0.1:1", "geodata-mode: true", "external-controller:127.0.0.1:1> geodata-mode:false>true")
	// Secrets are not, nor what may hold one.
	f("secret: hunter2\nauthentication: ['a:hunter2']", "ss-config: 'ss://hunter2'", "ss-config authentication secret")
	f("tls: {private-key: hunter2}", "geox-url: {mmdb: 'http://x.test/hunter2'}", "tls.private-key geox-url.mmdb")
	f("dns: {enable: true, nameserver: ['https://x.test/hunter2'], listen: '127.0.0.1:53'}", "hosts: {a.test: 1.2.3.4}",
		"dns.enable:true>false dns.listen:127.0.0.1:53> dns.nameserver hosts")
	// Places do not count, and what has names is told elsewhere.
	f("dns: {nameserver: [1.1.1.1], nameserver-policy: {a.test: 1.1.1.1}}\nhosts: {a.test: 1.2.3.4}",
		"# moves all\nhosts: {a.test: 1.2.3.4}\ndns:\n  nameserver-policy: {a.test: 1.1.1.1}\n  nameserver: [1.1.1.1]", "")
	f("proxies: [{name: a, type: direct}]\nrules: ['MATCH,a']", "rules: ['MATCH,DIRECT']", "")
	f("sub-rules: {a: ['MATCH,DIRECT']}", "sub-rules: {a: ['MATCH,REJECT']}", "sub-rules")
}
