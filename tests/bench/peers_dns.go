//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"os"
)

func unbound() peer {
	return peer{
		Name: "unbound",
		Note: "a cache before the origin; num-threads 1, no validation, no log",
		Tell: []string{"-V"},
		path: "unbound",
		configure: func(s setting) ([]string, map[kind]netip.AddrPort, error) {
			port, err := freePorts(1)
			if err != nil {
				return nil, nil, err
			}
			file, err := writeConfig(s.dir, "unbound.conf", fmt.Sprintf(`server:
  interface: 127.0.0.1@%d
  access-control: 127.0.0.0/8 allow
  num-threads: 1
  do-ip6: no
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "test." nodefault
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  verbosity: 0
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@%d
`, port[0].Port(), s.dir, s.origin.DNS.Port()))
			return []string{"-d", "-c", file}, map[kind]netip.AddrPort{viaDNS: port[0]}, err
		},
	}
}

func dnsmasq() peer {
	return peer{
		Name: "dnsmasq",
		Note: "a cache before the origin, without hosts",
		Tell: []string{"--version"},
		path: "dnsmasq",
		configure: func(s setting) ([]string, map[kind]netip.AddrPort, error) {
			port, err := freePorts(1)
			if err != nil {
				return nil, nil, err
			}
			file, err := writeConfig(s.dir, "dnsmasq.conf", fmt.Sprintf(`port=%d
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
cache-size=1000
server=127.0.0.1#%d
`, port[0].Port(), s.origin.DNS.Port()))
			args := []string{"--keep-in-foreground", "--conf-file=" + file, "--pid-file"}
			if os.Getuid() == 0 { // else it becomes a user that need not be there
				args = append(args, "--user=root")
			}
			return args, map[kind]netip.AddrPort{viaDNS: port[0]}, err
		},
	}
}
