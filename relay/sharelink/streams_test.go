package sharelink

import "testing"

func TestVMessJSON(t *testing.T) {
	f, bad := reads(t), refuses(t)
	link := func(fields string) string {
		return "vmess://" + b64(`{"v":"2","ps":"n","add":"host.example","id":"`+id+`",`+fields+`}`)
	}
	node := func(more keys) keys {
		k := keys{"type": "vmess", "uuid": id, "alterId": 0, "cipher": "auto", "udp": true}
		for key, value := range more {
			k[key] = value
		}
		return k
	}
	f(link(`"port":"443"`), node(nil))
	f(link(`"port":443,"aid":"64","scy":"chacha20-poly1305","net":"tcp","type":"none","tls":"","host":null`),
		node(keys{"alterId": 64, "cipher": "chacha20-poly1305", "network": "tcp"}))
	f(link(`"port":443,"aid":2,"net":"ws","host":"cdn.example","path":"/p?ed=2048","tls":"tls","sni":"s.example",
		"alpn":"h2,http/1.1","fp":"firefox","allowInsecure":true`), node(keys{
		"alterId": 2, "tls": true, "servername": "s.example", "alpn": []string{"h2", "http/1.1"},
		"client-fingerprint": "firefox", "skip-cert-verify": true, "network": "ws", "ws-opts": map[string]any{
			"path": "/p", "headers": map[string]string{"Host": "cdn.example"},
			"max-early-data": 2048, "early-data-header-name": "Sec-WebSocket-Protocol",
		},
	}))
	f(link(`"port":443,"net":"tcp","type":"http","host":"a.example,b.example","path":"/a,/b"`), node(keys{
		"network": "http", "http-opts": map[string]any{
			"path": []string{"/a", "/b"}, "headers": map[string]any{"Host": []string{"a.example", "b.example"}},
		},
	}))
	f(link(`"port":443,"net":"h2","type":"none","host":["a.example","b.example"],"path":"/a","tls":true`), node(keys{
		"network": "h2", "tls": true,
		"h2-opts": map[string]any{"host": []string{"a.example", "b.example"}, "path": "/a"},
	}))
	f(link(`"port":443,"net":"grpc","type":"gun","path":"svc","tls":"tls","insecure":"0"`), node(keys{
		"network": "grpc", "tls": true, "grpc-opts": map[string]any{"grpc-service-name": "svc"},
	}))
	f(link(`"port":443,"net":"httpupgrade","path":"/u?ed=1&x=2"`), node(keys{
		"network": "ws", "ws-opts": map[string]any{
			"path": "/u?x=2", "v2ray-http-upgrade": true, "v2ray-http-upgrade-fast-open": true,
		},
	}))
	f("vmess://"+b64(`{"add":"[2001:db8::1]","port":443,"id":"`+id+`"}`)+"#n", node(keys{"server": "2001:db8::1"}))

	bad("vmess://"+b64(`{"ps":"n","port":1,"id":"s3cret"}`), "vmess: the JSON has no add")
	bad("vmess://"+b64(`{"add":"a","id":"s3cret"}`), "vmess: the JSON has no port")
	bad("vmess://"+b64(`{"add":"a","port":{},"id":"s3cret"}`), "vmess: the JSON has no port")
	bad("vmess://"+b64(`{"add":"a","port":"1"}`), "vmess: the JSON has no id")
	bad("vmess://"+b64(`{"add":"a","port":"1","id":"s3cret"`), "vmess: the JSON does not parse")
	bad(link(`"port":"70000"`), "vmess: want a port of 1-65535")
	bad(link(`"port":1,"aid":"x"`), "vmess: the alterId is no number")
	bad(link(`"port":1,"net":"kcp"`), `vmess: transport "kcp" is not supported`)
	bad(link(`"port":1,"net":"a s3cret"`), `vmess: this transport is not supported`)
	bad(link(`"port":1,"tls":"xtls"`), `vmess: security "xtls" is not supported`)
	bad("vmess://s3cret", "vmess: the base64 holds neither JSON nor method:uuid@host:port")
	bad("vmess://s3cret!", "vmess: want base64 or uuid@host:port")
}

func TestVMessURL(t *testing.T) {
	f, bad := reads(t), refuses(t)
	f("vmess://"+id+"@host.example:443?encryption=none&security=tls&sni=s.example&type=ws&path=%2Fp&host=cdn.example#n", keys{
		"type": "vmess", "uuid": id, "alterId": 0, "cipher": "none", "udp": true, "tls": true,
		"servername": "s.example", "network": "ws", "ws-opts": map[string]any{
			"path": "/p", "headers": map[string]string{"Host": "cdn.example"},
		},
	})
	f("vmess://"+id+"@host.example:443?type=http&host=a.example&path=/&packetEncoding=xudp#n", keys{
		"type": "vmess", "uuid": id, "alterId": 0, "cipher": "auto", "udp": true, "packet-encoding": "xudp",
		"network": "h2", "h2-opts": map[string]any{"host": []string{"a.example"}, "path": "/"},
	})
	f("vmess://"+b64("aes-128-gcm:"+id+"@host.example:443")+
		"?remarks=n&obfs=websocket&obfsParam=cdn.example&path=/p&tls=1&peer=s.example&alterId=1&allowInsecure=1", keys{
		"type": "vmess", "uuid": id, "alterId": 1, "cipher": "aes-128-gcm", "udp": true, "tls": true,
		"servername": "s.example", "skip-cert-verify": true, "network": "ws", "ws-opts": map[string]any{
			"path": "/p", "headers": map[string]string{"Host": "cdn.example"},
		},
	})
	f("vmess://"+b64url("auto:"+id+"@host.example:443")+`?remarks=n&obfs=http&obfsParam=%7B%22Host%22:%22cdn.example%22%7D`, keys{
		"type": "vmess", "uuid": id, "alterId": 0, "cipher": "auto", "udp": true, "network": "http",
		"http-opts": map[string]any{"headers": map[string]any{"Host": []string{"cdn.example"}}},
	})
	bad("vmess://ws+tls:"+id+"-0@host.example:443", "vmess: want a UUID as the user")
	bad("vmess://@host.example:443", "vmess: want a UUID as the user")
}

func TestVLESS(t *testing.T) {
	f, bad := reads(t), refuses(t)
	start := "vless://" + id + "@host.example:443?"
	node := func(more keys) keys {
		k := keys{"type": "vless", "uuid": id, "udp": true}
		for key, value := range more {
			k[key] = value
		}
		return k
	}
	f(start+"encryption=none#n", node(nil))
	f(start+"encryption=none&amp;security=reality&amp;sni=s.example&fp=safari&pbk=a_b-c&sid=01ab&spx=%2F"+
		"&type=tcp&headerType=none&flow=xtls-rprx-vision#n", node(keys{
		"tls": true, "servername": "s.example", "client-fingerprint": "safari", "flow": "xtls-rprx-vision",
		"reality-opts": map[string]any{"public-key": "a_b-c", "short-id": "01ab"}, "network": "tcp",
	}))
	// REALITY needs the fingerprint of a client.
	f(start+"security=reality&pbk=a&type=grpc&serviceName=svc&mode=multi#n", node(keys{
		"tls": true, "client-fingerprint": "chrome", "reality-opts": map[string]any{"public-key": "a"},
		"network": "grpc", "grpc-opts": map[string]any{"grpc-service-name": "svc"},
	}))
	f(start+"security=tls&alpn=h3%2Ch2&insecure=1&pinSHA256=AB:CD&encryption=mlkem768x25519plus.native.0rtt.k"+
		"&packetEncoding=packet#n", node(keys{
		"tls": true, "alpn": []string{"h3", "h2"}, "skip-cert-verify": true, "fingerprint": "AB:CD",
		"encryption": "mlkem768x25519plus.native.0rtt.k", "packet-encoding": "packetaddr",
	}))
	f(start+"security=none&sni=s.example&type=ws&path=%2Fa%3Fb%3D1%26ed%3D2560&host=cdn.example&eh=X-Early#n", node(keys{
		"network": "ws", "ws-opts": map[string]any{
			"path": "/a?b=1", "headers": map[string]string{"Host": "cdn.example"},
			"max-early-data": 2560, "early-data-header-name": "X-Early",
		},
	}))
	f(start+"type=ws#n", node(keys{"network": "ws"}))
	f(start+"type=ws&path=/a?ed=many#n", node(keys{"network": "ws", "ws-opts": map[string]any{"path": "/a?ed=many"}}))
	f(start+"type=httpupgrade&path=/u#n", node(keys{
		"network": "ws", "ws-opts": map[string]any{"path": "/u", "v2ray-http-upgrade": true},
	}))
	f(start+"type=raw&headerType=http&host=a.example#n", node(keys{
		"network": "http", "http-opts": map[string]any{"headers": map[string]any{"Host": []string{"a.example"}}},
	}))
	f(start+"type=xhttp&path=/x&host=h.example&mode=stream-up&extra="+
		`%7B%22headers%22:%7B%22X%22:%22y%22%7D,%22noGRPCHeader%22:true,%22xPaddingBytes%22:%221-9%22,%22xmux%22:%7B%7D%7D#n`,
		node(keys{"network": "xhttp", "xhttp-opts": map[string]any{
			"path": "/x", "host": "h.example", "mode": "stream-up", "headers": map[string]string{"X": "y"},
			"no-grpc-header": true, "x-padding-bytes": "1-9",
		}}))
	f("vless://"+b64("auto:"+id+"@host.example:443")+"?remarks=n&tls=1&xtls=2&peer=s.example&pbk=a&sid=01", node(keys{
		"tls": true, "servername": "s.example", "client-fingerprint": "chrome", "flow": "xtls-rprx-vision",
		"reality-opts": map[string]any{"public-key": "a", "short-id": "01"},
	}))

	bad(start+"security=reality", "vless: REALITY has no pbk")
	bad(start+"type=xhttp&extra=s3cret", "vless: extra is no JSON we know")
	bad(start+"type=quic", `vless: transport "quic" is not supported`)
	bad("vless://host.example:443", "vless: want uuid@host:port")
	bad("vless://s3cret", "vless: want uuid@host:port")
}

func TestTrojanAndAnyTLS(t *testing.T) {
	f, bad := reads(t), refuses(t)
	f("trojan://p%23w@host.example:443#n", keys{"type": "trojan", "password": "p#w", "udp": true})
	f("trojan://p:w@x@host.example:443/?peer=s.example&allowInsecure=1&type=tcp#n", keys{
		"type": "trojan", "password": "p:w@x", "udp": true, "sni": "s.example", "skip-cert-verify": true, "network": "tcp",
	})
	ws := map[string]any{"path": "/p", "headers": map[string]string{"Host": "cdn.example"}}
	f("trojan://pw@host.example:443?security=tls&type=ws&path=/p&host=cdn.example&fp=chrome&alpn=h2#n", keys{
		"type": "trojan", "password": "pw", "udp": true, "network": "ws", "ws-opts": ws,
		"client-fingerprint": "chrome", "alpn": []string{"h2"},
	})
	f("trojan://pw@host.example:443?ws=1&wspath=%2Fp&host=cdn.example#n",
		keys{"type": "trojan", "password": "pw", "udp": true, "network": "ws", "ws-opts": ws})
	f("trojan://pw@host.example:443?type=grpc&serviceName=svc&security=reality&pbk=k#n", keys{
		"type": "trojan", "password": "pw", "udp": true, "network": "grpc",
		"grpc-opts":    map[string]any{"grpc-service-name": "svc"},
		"reality-opts": map[string]any{"public-key": "k"}, "client-fingerprint": "chrome",
	})
	f("anytls://p%3Aw@host.example/?sni=s.example&insecure=1&fp=chrome#n", keys{
		"type": "anytls", "password": "p:w", "udp": true, "sni": "s.example", "skip-cert-verify": true,
		"client-fingerprint": "chrome",
	})
	f("anytls://me:pw@host.example:443?insecure=0#n", keys{"type": "anytls", "password": "pw", "udp": true})

	bad("trojan://s3cret@host.example:443?security=none", `trojan: security "none" is not supported`)
	bad("trojan://s3cret@host.example:443?type=h2", `trojan: transport "h2" is not supported`)
	bad("trojan://s3cret@host.example:443?plugin=obfs-local;obfs=websocket", "trojan: no plugins here")
	bad("trojan://host.example:443", "trojan: want password@host:port")
	bad("trojan://s3cret@host.example", "trojan: no port")
	bad("anytls://@host.example:443", "anytls: want password@host:port")
}

func TestHysteria(t *testing.T) {
	f, bad := reads(t), refuses(t)
	f("hysteria2://me:p%2Fw@host.example/?sni=s.example&insecure=1&pinSHA256=ab&obfs=salamander&obfs-password=o%26&alpn=h3#n", keys{
		"type": "hysteria2", "password": "me:p/w", "udp": true, "sni": "s.example", "skip-cert-verify": true,
		"fingerprint": "ab", "obfs": "salamander", "obfs-password": "o&", "alpn": []string{"h3"},
	})
	f("hy2://pw@host.example:443,20000-30000?obfs=none#n",
		keys{"type": "hysteria2", "password": "pw", "udp": true, "ports": "443,20000-30000"})
	f("hy2://pw@[2001:db8::1]:20000-30000/#n", keys{
		"type": "hysteria2", "password": "pw", "udp": true, "server": "2001:db8::1", "port": 20000, "ports": "20000-30000",
	})
	f("hysteria2://pw@host.example:443?mport=2000-3000,4000&hopInterval=30&upmbps=10&downmbps=50#n", keys{
		"type": "hysteria2", "password": "pw", "udp": true, "ports": "2000-3000,4000", "hop-interval": 30,
		"up": "10", "down": "50",
	})
	f("hysteria2://host.example:443#n", keys{"type": "hysteria2", "udp": true})
	f("hysteria://host.example:443?protocol=udp&auth=pw&peer=s.example&insecure=1&upmbps=10&downmbps=50"+
		"&alpn=hysteria&obfs=xplus&obfsParam=o#n", keys{
		"type": "hysteria", "auth-str": "pw", "protocol": "udp", "sni": "s.example", "skip-cert-verify": true,
		"up": "10", "down": "50", "alpn": []string{"hysteria"}, "obfs": "o",
	})
	bad("hy2://s3cret@host.example:443,x", "hy2: want a port of 1-65535")
	bad("hy2://s3cret@host.example:443,30-20", "hy2: a range of ports goes backwards")
	bad("hy2://s3cret@host.example:443?mport=1-70000", "hy2: want a port of 1-65535")
	bad("hy2://s3cret@host.example:443?mport=1-2&hopInterval=x", "hy2: the hop interval is no number")
	bad("hysteria://host.example:0?auth=s3cret", "hysteria: want a port of 1-65535")
}

func TestTUIC(t *testing.T) {
	f, bad := reads(t), refuses(t)
	five := func() keys {
		return keys{"type": "tuic", "uuid": id, "password": "p:w", "udp": true}
	}
	k := five()
	k["congestion-controller"], k["udp-relay-mode"], k["alpn"] = "bbr", "quic", []string{"h3"}
	k["sni"], k["skip-cert-verify"], k["disable-sni"], k["reduce-rtt"] = "s.example", true, true, true
	f("tuic://"+id+":p%3Aw@host.example:443?congestion_control=bbr&udp_relay_mode=quic&alpn=h3&sni=s.example"+
		"&allow_insecure=1&disable_sni=1&reduce_rtt=1#n", k)
	f("tuic://"+id+"%3Ap%3Aw@host.example:443#n", five())
	f("tuic://"+id+"@host.example:443?password=p%3Aw&insecure=0#n", five())
	f("tuic://token@host.example:443#n", keys{"type": "tuic", "token": "token", "udp": true})
	f("tuic://host.example:443?token=token&version=4#n", keys{"type": "tuic", "token": "token", "udp": true})
	bad("tuic://host.example:443?password=s3cret", "tuic: want uuid:password or a token")
}
