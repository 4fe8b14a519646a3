package sharelink

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const id = "11111111-2222-4333-8444-555555555555"

func b64(s string) string    { return base64.StdEncoding.EncodeToString([]byte(s)) }
func b64url(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// reads checks the keys of a link. Those of want are added to name n, host.example and port 443.
func reads(t *testing.T) func(link string, want keys) {
	return func(link string, want keys) {
		t.Helper()
		nodes, problems, err := Parse([]byte(link))
		if err != nil || len(problems) > 0 || len(nodes) != 1 {
			t.Fatalf("%s: %v, %v, %v", link, nodes, problems, err)
		}
		for key, value := range (keys{"name": "n", "server": "host.example", "port": 443}) {
			if _, have := want[key]; !have {
				want[key] = value
			}
		}
		all := want.with(nodes[0].Keys)
		for _, key := range all {
			if got := nodes[0].Keys[key]; !reflect.DeepEqual(got, want[key]) {
				t.Errorf("%s: %s is %#v; want %#v", link, key, got, want[key])
			}
		}
	}
}

// with returns the keys of both, in order.
func (k keys) with(other map[string]any) []string {
	var all []string
	for key := range k {
		all = append(all, key)
	}
	for key := range other {
		all = append(all, key)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// refuses checks that a link, which holds s3cret, is a Problem that does not tell it.
func refuses(t *testing.T) func(link, want string) {
	return func(link, want string) {
		t.Helper()
		nodes, problems, err := Parse([]byte(link))
		if err != nil || len(nodes) > 0 || len(problems) != 1 {
			t.Fatalf("%s: %v, %v, %v; want a problem", link, nodes, problems, err)
		}
		got := problems[0].Err.Error()
		if got != want {
			t.Errorf("%s: %q; want %q", link, got, want)
		}
		if said := fmt.Sprint(problems[0]); strings.Contains(said, "s3cret") || strings.Contains(said, id) {
			t.Errorf("%s: %q tells a secret", link, said)
		}
	}
}

func TestSS(t *testing.T) {
	f := reads(t)
	node := func(more keys) keys {
		k := keys{"type": "ss", "cipher": "aes-128-gcm", "password": "p:w/+", "udp": true}
		for key, value := range more {
			k[key] = value
		}
		return k
	}
	f("ss://"+b64url("aes-128-gcm:p:w/+")+"@host.example:443#n", node(nil))
	f("ss://"+b64("AES-128-gcm:p:w/+")+"@host.example:443/?unknown=1#n", node(nil))
	f("ss://"+strings.ReplaceAll(b64("aes-128-gcm:p:w/+"), "=", "%3D")+"@host.example:443#n", node(nil))
	f("ss://aes-128-gcm:p%3Aw%2F%2B@host.example:443#n", node(nil))
	f("ss://"+b64("aes-128-gcm:p:w/+@host.example:443")+"#n", node(nil))
	f("ss://"+b64url("aes-128-gcm:p:w/+@host.example:443")+"/?uot=1#n", node(keys{"udp-over-tcp": true}))
	f("ss://"+b64("aes-128-gcm:p:w/+@[2001:db8::1]:443")+"#n", node(keys{"server": "2001:db8::1"}))
	f("ss://2022-blake3-aes-128-gcm:QUJD%2Bw%3D%3D:eHl6%2Fw%3D%3D@[2001:db8::1]:443#n", keys{
		"type": "ss", "server": "2001:db8::1", "cipher": "2022-blake3-aes-128-gcm",
		"password": "QUJD+w==:eHl6/w==", "udp": true,
	})
	f("ss://none:@host.example:443#n", node(keys{"cipher": "none", "password": ""}))
	f("ss://aes-128-gcm:p@[2001:db8::1]:443", node(keys{
		"password": "p", "server": "2001:db8::1", "name": "[2001:db8::1]:443",
	}))

	plugin := func(name string, opts map[string]any) keys {
		return node(keys{"plugin": name, "plugin-opts": opts})
	}
	start := "ss://" + b64url("aes-128-gcm:p:w/+") + "@host.example:443/?"
	f(start+"plugin=obfs-local%3Bobfs%3Dhttp%3Bobfs-host%3Dcdn.example#n",
		plugin("obfs", map[string]any{"mode": "http", "host": "cdn.example"}))
	f(start+"plugin=simple-obfs;obfs=tls#n", plugin("obfs", map[string]any{"mode": "tls"}))
	f(start+`plugin=v2ray-plugin;tls;host=cdn.example;path=/a\=b\;c\\;mux=0#n`, plugin("v2ray-plugin", map[string]any{
		"mode": "websocket", "host": "cdn.example", "path": `/a=b;c\`, "tls": true, "mux": false,
	}))
	f(start+"plugin=v2ray-plugin%3Bmode%3Dwebsocket%3Btls%3Dfalse#n",
		plugin("v2ray-plugin", map[string]any{"mode": "websocket"}))
	f(start+"v2ray-plugin="+b64(`{"mode":"websocket","host":"cdn.example","path":"/p","tls":true,"mux":4}`)+"#n",
		plugin("v2ray-plugin", map[string]any{
			"mode": "websocket", "host": "cdn.example", "path": "/p", "tls": true, "mux": true,
		}))

	bad := refuses(t)
	start = strings.Replace(start, b64url("aes-128-gcm:p:w/+"), "aes-128-gcm:s3cret", 1)
	bad(start+"plugin=shadow-tls;password=s3cret", `ss: plugin "shadow-tls" is not supported`)
	bad(start+"plugin=C%3A%5Cs3cret%20x", `ss: this plugin is not supported`)
	bad(start+"shadow-tls="+b64("{}"), `ss: plugin "shadow-tls" is not supported`)
	bad(start+"plugin=obfs-local", "ss: the plugin wants obfs=http or obfs=tls")
	bad(start+"plugin=v2ray-plugin;mode=quic", `ss: v2ray-plugin mode "quic" is not supported`)
	bad(start+"v2ray-plugin=s3cret", "ss: v2ray-plugin is not the base64 of a JSON")
	bad(start+"security=tls&type=tcp", `ss: security "tls" is not supported`)
	bad(start+"type=ws", `ss: transport "ws" is not supported`)
	bad("ss://s3cret", "ss: want method:password@host:port")
	bad("ss://"+b64("s3cret")+"@host.example:443", "ss: want method:password")
	bad("ss://"+b64("s3cret:")+"@host.example:443", "ss: no password")
	bad("ss://aes-128-gcm:s3cret@host.example", "ss: no port")
	bad("ss://aes-128-gcm:s3cret@host.example:65536", "ss: want a port of 1-65535")
	bad("ss://aes-128-gcm:s3cret@:443", "ss: no host")
	bad("ss://aes-128-gcm:s3cret@2001:db8::1:443", "ss: want host:port, with an IPv6 host in brackets")
	bad("ss://aes-128-gcm:s3cret@[1.2.3.4]:443", "ss: the host in brackets is no IPv6 address")
	bad("ss://aes-128-gcm:s3cret@[2001:db8::1]443", "ss: want a colon after the brackets")
	bad("ss://aes-128-gcm:s3cret@a%20b:443", "ss: the host is no name or address")
}

func TestSSR(t *testing.T) {
	f, bad := reads(t), refuses(t)
	node := func() keys {
		return keys{
			"type": "ssr", "cipher": "aes-256-cfb", "password": "pä", "udp": true,
			"protocol": "auth_aes128_md5", "obfs": "tls1.2_ticket_auth",
		}
	}
	k := node()
	k["obfs-param"], k["protocol-param"] = "cdn.example", "1:a"
	f("ssr://"+b64url("host.example:443:auth_aes128_md5:aes-256-cfb:tls1.2_ticket_auth:"+b64url("pä")+
		"/?obfsparam="+b64url("cdn.example")+"&protoparam="+b64url("1:a")+"&remarks="+b64url("n")+"&group="), k)
	k = node()
	k["server"], k["name"] = "2001:db8::1", "[2001:db8::1]:443"
	f("ssr://"+b64("2001:db8::1:443:auth_aes128_md5:aes-256-cfb:tls1.2_ticket_auth:"+b64url("pä")), k)

	bad("ssr://s3cret!", "ssr: not base64")
	bad("ssr://"+b64("a:1:b:s3cret"), "ssr: want host:port:protocol:method:obfs:password")
	bad("ssr://"+b64("a:1:origin:rc4:plain:s3cret!"), "ssr: the password is not base64")
	bad("ssr://"+b64("a:1:origin::plain:s3cret"), "ssr: no cipher")
	bad("ssr://"+b64("a:0:origin:rc4:plain:s3cret"), "ssr: want a port of 1-65535")
}

func TestPlainProxies(t *testing.T) {
	f, bad := reads(t), refuses(t)
	socks := func() keys {
		return keys{"type": "socks5", "username": "me", "password": "p@w", "udp": true}
	}
	f("socks://"+b64("me:p@w")+"@host.example:443#n", socks())
	f("socks5://me:p%40w@host.example:443/#n", socks())
	f("socks5h://me:p@w@host.example:443#n", socks())
	f("socks://"+b64("me:p@w@host.example:443")+"?remarks=n", socks())
	f("socks5://host.example:443#n", keys{"type": "socks5", "udp": true})
	f("socks5://justme@host.example:443?tls=1#n", keys{"type": "socks5", "username": "justme", "udp": true, "tls": true})
	f("http://me:pw@host.example:443#n", keys{"type": "http", "username": "me", "password": "pw"})
	f("http://"+b64("me:pw@host.example:443")+"#n", keys{"type": "http", "username": "me", "password": "pw"})
	f("https://"+b64("me:pw")+"@[2001:db8::1]:443/?sni=s.example&allowInsecure=1#n", keys{
		"type": "http", "server": "2001:db8::1", "username": "me", "password": "pw",
		"tls": true, "sni": "s.example", "skip-cert-verify": true,
	})
	bad("https://a.example/s3cret", "https: a proxy has no path")
	bad("http://a.example", "http: no port")
	bad("socks4://a.example:1080", "socks4: unknown scheme")
}
