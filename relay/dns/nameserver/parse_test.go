package nameserver

import (
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

func ip(text string, port uint16) flow.Addr {
	return flow.Addr{IP: netip.MustParseAddr(text), Port: port}
}

func host(name string, port uint16) flow.Addr { return flow.Addr{Host: name, Port: port} }

func TestParse(t *testing.T) {
	f := func(text string, want Server, short string) {
		t.Helper()
		got, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
			return
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("Parse(%q) = %+v; want %+v", text, *got, want)
		}
		if got.String() != short {
			t.Errorf("Parse(%q).String() = %q; want %q", text, got, short)
		}
	}
	// Without a scheme it is UDP.
	f("1.1.1.1", Server{Addr: ip("1.1.1.1", 53)}, "udp://1.1.1.1:53")
	f(" 1.1.1.1 ", Server{Addr: ip("1.1.1.1", 53)}, "udp://1.1.1.1:53")
	f("1.1.1.1:5353", Server{Addr: ip("1.1.1.1", 5353)}, "udp://1.1.1.1:5353")
	f("[2001:db8::1]", Server{Addr: ip("2001:db8::1", 53)}, "udp://[2001:db8::1]:53")
	f("[2001:db8::1]:54", Server{Addr: ip("2001:db8::1", 54)}, "udp://[2001:db8::1]:54")
	f("2001:db8::1", Server{Addr: ip("2001:db8::1", 53)}, "udp://[2001:db8::1]:53")
	f("2001:db8::1:54", Server{Addr: ip("2001:db8::1:54", 53)}, "udp://[2001:db8::1:54]:53")
	f("::ffff:1.1.1.1", Server{Addr: ip("1.1.1.1", 53)}, "udp://1.1.1.1:53")
	f("DNS.Example.", Server{Addr: host("dns.example", 53)}, "udp://dns.example:53")
	f("dns.example:54", Server{Addr: host("dns.example", 54)}, "udp://dns.example:54")
	f("bücher.example", Server{Addr: host("xn--bcher-kva.example", 53)}, "udp://xn--bcher-kva.example:53")
	f("localhost", Server{Addr: host("localhost", 53)}, "udp://localhost:53")

	// Each scheme has its port, and may be in any case.
	f("udp://1.1.1.1", Server{Addr: ip("1.1.1.1", 53)}, "udp://1.1.1.1:53")
	f("udp://2001:db8::1", Server{Addr: ip("2001:db8::1", 53)}, "udp://[2001:db8::1]:53")
	f("TCP://1.1.1.1", Server{Scheme: TCP, Addr: ip("1.1.1.1", 53)}, "tcp://1.1.1.1:53")
	f("tls://dns.example", Server{Scheme: TLS, Addr: host("dns.example", 853)}, "tls://dns.example:853")
	f("tls://dns.example:443/", Server{Scheme: TLS, Addr: host("dns.example", 443)}, "tls://dns.example:443")
	f("quic://[2001:db8::1]", Server{Scheme: QUIC, Addr: ip("2001:db8::1", 853)}, "quic://[2001:db8::1]:853")

	// DoH keeps its path, which the short form does not show.
	f("https://dns.example", Server{Scheme: HTTPS, Addr: host("dns.example", 443), Path: "/dns-query"}, "https://dns.example:443")
	f("https://dns.example/", Server{Scheme: HTTPS, Addr: host("dns.example", 443), Path: "/"}, "https://dns.example:443")
	f("https://[2001:db8::1]:8443/a%2Fb?k=1&x",
		Server{Scheme: HTTPS, Addr: ip("2001:db8::1", 8443), Path: "/a%2Fb?k=1&x"}, "https://[2001:db8::1]:8443")
	f("https://dns.example?k=1", Server{Scheme: HTTPS, Addr: host("dns.example", 443), Path: "/dns-query?k=1"}, "https://dns.example:443")
	f("http://127.0.0.1/q", Server{Scheme: HTTP, Addr: ip("127.0.0.1", 80), Path: "/q"}, "http://127.0.0.1:80")
	f("https://me:secret@dns.example/q",
		Server{Scheme: HTTPS, Addr: host("dns.example", 443), Path: "/q", User: url.UserPassword("me", "secret")}, "https://dns.example:443")

	// What is no address.
	f("system", Server{Scheme: System}, "system")
	f("System://", Server{Scheme: System}, "system")
	f("dhcp://eth0", Server{Scheme: DHCP, Device: "eth0"}, "dhcp://eth0")
	f("dhcp://system", Server{Scheme: DHCP, Device: "system"}, "dhcp://system")
	f("dhcp://Ethernet 2", Server{Scheme: DHCP, Device: "Ethernet 2"}, "dhcp://Ethernet 2")
	f("rcode://success", Server{Scheme: RCode}, "rcode://success")
	f("rcode://format_error", Server{Scheme: RCode, RCode: 1}, "rcode://format_error")
	f("rcode://server_failure", Server{Scheme: RCode, RCode: 2}, "rcode://server_failure")
	f("rcode://name_error", Server{Scheme: RCode, RCode: 3}, "rcode://name_error")
	f("rcode://not_implemented", Server{Scheme: RCode, RCode: 4}, "rcode://not_implemented")
	f("rcode://refused", Server{Scheme: RCode, RCode: 5}, "rcode://refused")
}

func TestParseFragment(t *testing.T) {
	f := func(fragment string, want Server) {
		t.Helper()
		want.Scheme, want.Addr, want.Path = HTTPS, ip("1.1.1.1", 443), "/dns-query"
		got, err := Parse("https://1.1.1.1#" + fragment)
		if err != nil {
			t.Errorf("#%s: %v", fragment, err)
			return
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("#%s = %+v; want %+v", fragment, *got, want)
		}
	}
	f("", Server{})
	f("eth0", Server{Via: "eth0"})
	f("RULES", Server{Via: Rules})
	f("My Group", Server{Via: "My Group"})
	f("%F0%9F%87%A9%20DE%26", Server{Via: "\U0001f1e9 DE&"})
	f("100%", Server{Via: "100%"}) // not valid as an escape
	f("a+b", Server{Via: "a+b"})
	f("h3=true", Server{H3: true})
	f("h3=0&h3=1", Server{H3: true})
	f("proxy&h3=true&skip-cert-verify=true", Server{Via: "proxy", H3: true, SkipVerify: true})
	f("skip-cert-verify=1&proxy", Server{Via: "proxy", SkipVerify: true})
	f("skip-cert-verify=false", Server{})
	f("ecs=1.2.3.4/24", Server{Subnet: netip.MustParsePrefix("1.2.3.0/24")})
	f("ecs=1.2.3.0%2F24", Server{Subnet: netip.MustParsePrefix("1.2.3.0/24")})
	f("ecs=1.2.3.4", Server{Subnet: netip.MustParsePrefix("1.2.3.4/32")})
	f("ecs=2001:db8::1", Server{Subnet: netip.MustParsePrefix("2001:db8::1/128")})
	f("ecs=2001:db8::1/56", Server{Subnet: netip.MustParsePrefix("2001:db8::/56")})
	f("ecs=::ffff:1.2.3.4/120", Server{Subnet: netip.MustParsePrefix("1.2.3.0/24")})
	f("ecs=0.0.0.0/0&ecs-override=true", Server{Subnet: netip.MustParsePrefix("0.0.0.0/0"), SubnetAlways: true})
	f("disable-ipv4=true&disable-ipv6=1", Server{NoIPv4: true, NoIPv6: true})
	f("disable-qtype-65=true&disable-qtype-65535=true&disable-qtype-1=0", Server{NoTypes: []uint16{65, 65535}})
	f("disable-qtype-65=true&disable-qtype-65=true", Server{NoTypes: []uint16{65}})
	f("&&a&", Server{Via: "a"})
	// Names that look like parameters, and are none; one that is can be written with an escape.
	f("H3", Server{Via: "H3"})
	f("disable-qtype-", Server{Via: "disable-qtype-"})
	f("disable-qtype-any", Server{Via: "disable-qtype-any"})
	f("h%33", Server{Via: "h3"})
}

func TestParseSaysWhatToWrite(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		s, err := Parse(text)
		if err == nil {
			t.Errorf("Parse(%q) = %+v; want an error with %q", text, *s, want)
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v; want %q", text, err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("Parse(%q): %v; it repeats a secret", text, err)
		}
	}
	const scheme = "unknown scheme foo, want udp, tcp, tls, https, http, quic, system, dhcp or rcode"
	f("", "the name server is empty")
	f("#proxy", "the name server is empty")
	f("foo://1.1.1.1", scheme)
	f("://1.1.1.1", "unknown scheme, want udp")
	f("me:secret@x://1.1.1.1", "unknown scheme, want udp")
	f("1.1.1.1:0", "want 1-65535")
	f("1.1.1.1:65536", "want 1-65535")
	f("1.1.1.1:", "want 1-65535")
	f("1.1.1.1:-1", "want 1-65535")
	f("me:secret", "want 1-65535")
	f(":53", "invalid host: want an address")
	f("[1.1.1.1]", "invalid host")
	f("[2001:db8::1", "invalid")
	f("a..b", "invalid host")
	f("fe80::1%eth0", "name the interface behind a #")
	f("1.1.1.1/secret", "for https:// and http:// alone")
	f("me:secret@1.1.1.1", "for https:// and http:// alone")
	f("tls://dns.example/secret", "for https:// and http:// alone")
	f("https://me:secret@dns.example:0/secret", "want 1-65535")
	f("https://me:secret@/secret", "invalid host")
	f("https://dns.example/%zz-secret", "invalid URL: want https://host:port/path")
	f("http://a b/secret", "invalid URL: want http://host:port/path")
	f("https://me:sec#ret-secret@dns.example/secret?a=1", "invalid URL")
	f("https://me#secret@dns.example/?a=1", "unknown parameter behind the #")
	f("system://eth0", "nothing stands behind system://")
	f("dhcp://", "such as dhcp://eth0, or dhcp://system")
	f("dhcp://a/b", "such as dhcp://eth0")
	f("rcode://nxdomain", "want success, format_error, server_failure, name_error, not_implemented or refused")
	f("rcode://", "want success")

	f("1.1.1.1#h3=true", "h3 is for https alone, not for udp")
	f("http://1.1.1.1#h3=true", "h3 is for https alone, not for http")
	f("1.1.1.1#a&b", "two proxies")
	f("1.1.1.1#ecs=x", "want a prefix such as 192.0.2.0/24")
	f("1.1.1.1#ecs=1.1.1.1/33", "want a prefix")
	f("1.1.1.1#ecs=fe80::1%eth0", "want a prefix")
	f("1.1.1.1#ecs=::ffff:1.1.1.1/90", "wider than IPv4")
	f("1.1.1.1#skip-cert-verify=yes", "want true or false behind skip-cert-verify=")
	f("1.1.1.1#disable-qtype-0=true", "want the number of a type, 1-65535")
	f("1.1.1.1#disable-qtype-65536=true", "want the number of a type")
	f("1.1.1.1#disable-qtype-AAAA=true", "want the number of a type")
	f("1.1.1.1#disable-ip6=true", "unknown parameter disable-ip6; known are h3, skip-cert-verify, ecs, ecs-override, disable-ipv4, disable-ipv6, disable-qtype-65")
	for _, name := range []string{"h3", "skip-cert-verify", "ecs-override", "disable-ipv4", "disable-ipv6", "disable-qtype-65", "disable-qtype-1"} {
		f("https://me:secret@dns.example/secret#"+name, name+" has no value: write "+name+"=true")
		f("https://dns.example#proxy&"+name, "write "+name+"=true")
	}
	f("https://dns.example#ecs&proxy", "ecs has no value: write ecs=192.0.2.0/24")
	f("1.1.1.1#h4=true", "unknown parameter h4; known")
	f("1.1.1.1#skip-cert=true", "unknown parameter skip-cert; known")
}

func TestDisables(t *testing.T) {
	const a, aaaa, https = 1, 28, 65
	f := func(fragment string, want ...uint16) {
		t.Helper()
		s, err := Parse("1.1.1.1#" + fragment)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint16
		for _, qtype := range []uint16{a, aaaa, https} {
			if s.Disables(qtype) {
				got = append(got, qtype)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("#%s disables %v; want %v", fragment, got, want)
		}
	}
	f("")
	f("disable-ipv4=true", a)
	f("disable-ipv6=true", aaaa)
	f("disable-qtype-65=true&disable-qtype-28=true", aaaa, https)
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"1.1.1.1", "[::1]:53", "https://u:p@h/p?q#v&h3=true", "dhcp://e", "rcode://refused", "system", "tls://h#ecs=1.2.3.4/8", "1.1.1.1#disable-qtype-65=1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		// The short form names the same server.
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("%q: its short form %q: %v", text, s, err)
		}
		if again.Scheme != s.Scheme || again.Addr != s.Addr || again.Device != s.Device || again.RCode != s.RCode {
			t.Fatalf("%q: its short form %q is another server", text, s)
		}
	})
}
