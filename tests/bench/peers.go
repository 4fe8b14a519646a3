//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// A peer is a proxy that can be measured. Ours is one of them, and the first.
type peer struct {
	Name string
	Note string   // how it runs, for the foot of the table
	Tell []string // arguments that make it print its version; none when it has no such
	path string
	// configure writes what it needs to its directory, listens on ports of its own, and returns its
	// arguments and its doors.
	configure func(s setting) (args []string, doors map[kind]netip.AddrPort, err error)
}

// setting is what a peer is configured for.
type setting struct {
	dir    string // of its own
	origin addrs
	dns    kind // of the row
	api    bool
}

// peers returns all of them, installed or not.
func peers(binary string) []peer {
	return []peer{switchyard(binary), haproxy(), squid(), microsocks(), unbound(), dnsmasq()}
}

// installed splits peers into those that are here and the names of the others. Without ours
// there is nothing to measure.
func installed(all []peer) (here []peer, missing []string, err error) {
	for i, p := range all {
		path, err := exec.LookPath(p.path)
		if errors.Is(err, exec.ErrNotFound) && !filepath.IsAbs(p.path) {
			path, err = exec.LookPath(filepath.Join("/usr/sbin", p.path)) // not in a user's PATH
		}
		if err == nil {
			path, err = filepath.Abs(path) // it runs in a directory of its own
		}
		switch {
		case err == nil:
			p.path = path
			here = append(here, p)
		case i == 0:
			return nil, nil, fmt.Errorf("-binary: %w", err)
		default:
			missing = append(missing, p.Name)
		}
	}
	return here, missing, nil
}

func (p peer) version() string {
	if p.Tell == nil {
		return ""
	}
	out, _ := exec.Command(p.path, p.Tell...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func switchyard(binary string) peer {
	p := withRules(binary, "switchyard", 1)
	p.Note = "one rule, MATCH,DIRECT; log-level warning"
	return p
}

// behindRules are ours with many rules and with few; the first is divided by the others.
func behindRules(binary string, quick bool) []peer {
	many := 1_000_000
	if quick {
		many = 100_000
	}
	return []peer{
		withRules(binary, fmt.Sprintf("%d rules", many), many),
		withRules(binary, "10 rules", 10),
	}
}

// withRules is Switchyard with n rules, of which the last decides: the others are names.
func withRules(binary, name string, n int) peer {
	return peer{
		Name: name,
		Tell: []string{"-v"},
		path: binary,
		configure: func(s setting) ([]string, map[kind]netip.AddrPort, error) {
			port, err := freePorts(3)
			if err != nil {
				return nil, nil, err
			}
			var b strings.Builder
			level := "warning"
			if s.api {
				level = "debug" // and /debug/vars is there
			}
			fmt.Fprintf(&b, "mixed-port: %d\nmode: rule\nipv6: false\nlog-level: %s\nexternal-controller: %s\n",
				port[0].Port(), level, port[1])
			if s.api {
				b.WriteString(apiConfig())
			} else {
				b.WriteString(rulesConfig(n))
			}
			doors := map[kind]netip.AddrPort{
				viaSOCKS5: port[0], viaName: port[0], viaCONNECT: port[0], viaProxy: port[0],
				viaAPI: port[1],
			}
			if s.dns != "" {
				mode := map[kind]string{viaDNS: "redir-host", viaFakeIP: "fake-ip"}[s.dns]
				fmt.Fprintf(&b, "dns: {enable: true, listen: %q, enhanced-mode: %s, nameserver: [%q]}\n",
					port[2], mode, s.origin.DNS)
				doors[s.dns] = port[2]
			}
			file, err := writeConfig(s.dir, "config.yaml", b.String())
			return []string{"-d", s.dir, "-f", file}, doors, err
		},
	}
}

// rulesConfig is n rules, of which the last decides.
func rulesConfig(n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n - 1 {
		fmt.Fprintf(&b, "- DOMAIN-SUFFIX,site%d.example%d.test,REJECT\n", i, i%977)
	}
	b.WriteString("- MATCH,DIRECT\n")
	return b.String()
}

func haproxy() peer {
	return peer{
		Name: "haproxy",
		Note: "TCP relay that splices with 1 MB pipes, HTTP reverse proxy; one process, " +
			"nbthread 2, no log",
		Tell: []string{"-v"},
		path: "haproxy",
		configure: func(s setting) ([]string, map[kind]netip.AddrPort, error) {
			port, err := freePorts(2)
			if err != nil {
				return nil, nil, err
			}
			file, err := writeConfig(s.dir, "haproxy.cfg", fmt.Sprintf(`global
  nbthread 2
  maxconn 6000
  tune.pipesize 1048576
defaults
  timeout connect 10s
  timeout client 120s
  timeout server 120s
listen tcp
  mode tcp
  bind %s
  option splice-request
  option splice-response
  server origin %s
listen http
  mode http
  bind %s
  http-reuse always
  server origin %s
`, port[0], s.origin.TCP, port[1], s.origin.HTTP))
			doors := map[kind]netip.AddrPort{viaTCP: port[0], viaReverse: port[1]}
			return []string{"-db", "-f", file}, doors, err
		},
	}
}

func squid() peer {
	return peer{
		Name: "squid",
		Note: "one process (-N), no cache, no access log",
		Tell: []string{"-v"},
		path: "squid",
		configure: func(s setting) ([]string, map[kind]netip.AddrPort, error) {
			port, err := freePorts(1)
			if err != nil {
				return nil, nil, err
			}
			as, err := squidUser(s.dir)
			if err != nil {
				return nil, nil, err
			}
			file, err := writeConfig(s.dir, "squid.conf", fmt.Sprintf(`http_port %s
%s
http_access allow localhost
http_access deny all
cache deny all
access_log none
cache_store_log none
cache_log %[3]s/cache.log
pid_filename %[3]s/squid.pid
coredump_dir %[3]s
netdb_filename none
pinger_enable off
dns_nameservers 127.0.0.1
visible_hostname bench.invalid
shutdown_lifetime 0 seconds
max_filedescriptors 16384
`, port[0], as, s.dir))
			doors := map[kind]netip.AddrPort{viaCONNECT: port[0], viaProxy: port[0]}
			return []string{"-N", "-f", file}, doors, err
		},
	}
}

// squidUser gives dir to the user that squid becomes when it is started by root, who it refuses
// to be, and returns the line of its configuration that says so.
func squidUser(dir string) (string, error) {
	if os.Getuid() != 0 {
		return "", nil
	}
	for _, name := range []string{"proxy", "squid", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return "", err
		}
		return "cache_effective_user " + name, os.Chown(dir, uid, -1)
	}
	return "", errors.New("no user for squid: want proxy, squid or nobody")
}

func microsocks() peer {
	return peer{
		Name: "microsocks",
		Note: "a thread per connection, its log thrown away",
		path: "microsocks",
		configure: func(setting) ([]string, map[kind]netip.AddrPort, error) {
			port, err := freePorts(1)
			if err != nil {
				return nil, nil, err
			}
			args := []string{"-i", "127.0.0.1", "-p", strconv.Itoa(int(port[0].Port()))}
			return args, map[kind]netip.AddrPort{viaSOCKS5: port[0]}, nil
		},
	}
}

func writeConfig(dir, name, text string) (string, error) {
	file := filepath.Join(dir, name)
	return file, os.WriteFile(file, []byte(text), 0o644)
}
