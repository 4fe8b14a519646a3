package config

import (
	"strings"
	"testing"
)

// TestUpgrade: an upgrade needs a server and a key, and a wrong one has its place.
func TestUpgrade(t *testing.T) {
	const key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
	f := func(section, want string) {
		t.Helper()
		c, diags := Parse("f.yaml", []byte("upgrade: "+section+"\n"))
		err := diags.Err()
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", section, err)
		case want == "" && c.Upgrade.URL != "" && c.Upgrade.PublicKey == "":
			t.Errorf("%s: %+v", section, c.Upgrade)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v; want %q", section, err, want)
		}
	}
	f("{}", "")
	f("{url: 'https://a.test/x?y', public-key: "+key+"}", "")
	f(`{url: 'http://a.test', public-key: "untrusted comment: a key\n`+key+`\n"}`, "")
	f("{url: 'https://a.test'}", "f.yaml:1:1: error: upgrade: needs both")
	f("{public-key: "+key+"}", "needs both")
	f("{url: 'ftp://a.test', public-key: "+key+"}", "upgrade.url: want an http or https URL")
	f("{url: 'https://user:secret@a.test', public-key: RWsecret}", "upgrade.public-key: want a public key of minisign")
	f("[a]", "upgrade")
	_, diags := Parse("f.yaml", []byte("upgrade: {uri: 'https://a.test'}\n"))
	if len(diags) != 1 || diags[0].Severity != Warning || !strings.Contains(diags[0].Hint, "url") {
		t.Errorf("%v", diags)
	}
}
