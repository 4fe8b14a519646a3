//go:build linux

package soak

import (
	"fmt"
	"strings"
)

// config is one of two configurations that take turns.
func (s *soak) config(n int, level string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `mixed-port: MIXED
mode: rule
log-level: %s
ipv6: false
secret: soak
profile: {store-selected: true, store-fake-ip: true}
dns:
  enable: true
  listen: %q
  enhanced-mode: fake-ip
  fake-ip-filter: ["+.real.test"]
  nameserver: [%q]
  default-nameserver: [%[3]q]
proxies:
  - {name: n1, type: http, server: 127.0.0.1, port: %d}
  - {name: n2, type: http, server: 127.0.0.1, port: %d}
  - {name: dead, type: socks5, server: 127.0.0.1, port: 1}
`, level, s.dns, s.o.names, s.o.nodes[0], s.o.nodes[1])
	if n == 1 {
		fmt.Fprintf(&b, "  - {name: n3, type: http, server: 127.0.0.1, port: %d}\n", s.o.nodes[0])
	}
	fmt.Fprintf(&b, `proxy-providers:
  sub:
    type: http
    url: %[1]s/nodes
    path: ./sub.yaml
    interval: 3600
    health-check: {enable: true, url: "%[1]s/204", interval: 2, timeout: 2000, lazy: false}
rule-providers:
  sites: {type: http, behavior: domain, format: text, url: "%[1]s/sites", path: ./sites.txt, interval: 3600}
proxy-groups:
  - {name: kept, type: select, proxies: [n1, n2, DIRECT]}
  - {name: pinned, type: fallback, proxies: [n2, n1], url: "%[1]s/204", interval: 3}
  - {name: switched, type: select, proxies: [n1, n2, DIRECT], interrupt-exist-connections: close}
  - {name: drained, type: select, proxies: [n1, n2, DIRECT], interrupt-exist-connections: drain 1s}
  - {name: auto, type: url-test, use: [sub], proxies: [dead], url: "%[1]s/204", interval: 2, timeout: 2000}
  - {name: spread, type: load-balance, strategy: round-robin, use: [sub], proxies: [n1], url: "%[1]s/204", interval: 3}
`, s.o.web)
	if n == 1 {
		b.WriteString("  - {name: other, type: select, proxies: [n3, auto]}\n")
	}
	b.WriteString("rules:\n")
	if n == 1 {
		for i := range 500 {
			fmt.Fprintf(&b, "  - DOMAIN-SUFFIX,site%d.other.test,other\n", i)
		}
	}
	b.WriteString(`  - RULE-SET,sites,auto
  - DOMAIN-SUFFIX,kept.test,kept
  - DOMAIN-SUFFIX,switched.test,switched
  - DOMAIN-SUFFIX,drained.test,drained
  - DOMAIN-SUFFIX,spread.test,spread
  - DOMAIN-SUFFIX,bad.test,REJECT
  - MATCH,DIRECT
`)
	if n == 1 {
		fmt.Fprintf(&b, "socks-port: %s\n", s.extra[strings.LastIndexByte(s.extra, ':')+1:])
	}
	return b.String()
}
