package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/switchyard-proxy/switchyard/relay/minisign"
)

// MaxSize is the largest configuration that is read, in bytes.
const MaxSize = 64 << 20

// Parse reads a configuration called name. With an error among the diagnostics the Config is only
// good for finding more of them; it is nil when the text is no map of settings at all. Parse opens no
// file and no connection.
func Parse(name string, data []byte) (*Config, Diagnostics) {
	d := &decoder{file: name, places: make(map[string]Pos)}
	root := d.document(data)
	if root == nil {
		return nil, d.diags
	}
	c := Default()
	c.File = name
	c.read(d, value{d: d, n: root, safe: true})
	c.check(d)
	if d.dropped > 0 {
		d.diags = append(d.diags, Diagnostic{Severity: Note, File: name, Message: fmt.Sprintf("and %d more", d.dropped)})
	}
	d.diags.sort()
	return c, d.diags
}

// document parses the YAML and returns its map.
func (d *decoder) document(data []byte) *yaml.Node {
	if len(data) > MaxSize {
		d.report(Error, Pos{}, "", fmt.Sprintf("larger than %d MiB", MaxSize>>20), "")
		return nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		d.report(Error, yamlLine(err), "", err.Error(), "")
		return nil
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		d.report(Error, Pos{}, "", "the configuration is empty", "")
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		d.report(Error, Pos{root.Line, root.Column}, "", "want a map of settings", "")
		return nil
	}
	return root
}

var lineOf = regexp.MustCompile(`line (\d+)`)

// yamlLine finds the line in the YAML parser's message, which is all it tells.
func yamlLine(err error) Pos {
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return Pos{n, 1}
	}
	return Pos{}
}

func (c *Config) read(d *decoder, root value) {
	root.object(false, c, &c.Controller, &c.Geo)
	c.places = d.places
	c.Controller.CORS.AllowOriginsSet = has(root.n, "external-controller-cors", "allow-origins")
}

// has says whether a map has a key, and below it another.
func has(n *yaml.Node, keys ...string) bool {
	for _, key := range keys {
		i := -1
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind == yaml.MappingNode {
			i = slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return k.Value == key && k.Kind == yaml.ScalarNode })
		}
		if i < 0 || i%2 != 0 || i+1 >= len(n.Content) {
			return false
		}
		n = n.Content[i+1]
	}
	return n.Tag != "!!null"
}

// check judges what a single value cannot show.
func (c *Config) check(d *decoder) {
	names := c.names(d)
	c.checkGroups(d, names)
	c.checkDialers(d, names)
	c.checkRules(d, names)
	c.checkRuleProviders(d, names)
	c.checkProxyProviders(d, names)
	c.checkHosts(d)
	c.checkDNS(d, names)
	c.checkGeneral(d)
	c.checkPorts(d)
	c.checkPanel(d)
	c.checkSupport(d)
}

// Changed notes that c is no longer what its file says: what is said of it then has no place.
func (c *Config) Changed() { c.File, c.places = "", nil }

// Validate judges c again after it was changed. Places are known for what came from the file.
func (c *Config) Validate() Diagnostics {
	d := &decoder{file: c.File, places: c.places}
	c.check(d)
	for _, l := range []struct{ key, addr string }{
		{"external-controller", c.Controller.Addr},
		{"external-controller-tls", c.Controller.TLSAddr},
	} {
		if l.addr != "" && listenAddr(l.addr) != nil {
			d.report(Error, d.places[l.key], l.key, fmt.Sprintf("want an address such as 127.0.0.1:9090, got %q", l.addr), "")
		}
	}
	d.diags.sort()
	return d.diags
}

func (c *Config) checkGeneral(d *decoder) {
	used := make(map[int]string)
	for _, p := range []struct {
		key  string
		port int
	}{
		{"port", c.Port},
		{"socks-port", c.SocksPort},
		{"mixed-port", c.MixedPort},
		{"redir-port", c.RedirPort},
		{"tproxy-port", c.TProxyPort},
	} {
		switch {
		case p.port == 0:
		case p.port < 0 || p.port > 65535:
			d.report(Error, d.places[p.key], p.key, fmt.Sprintf("want 0-65535, got %d", p.port), "")
		case used[p.port] != "":
			d.report(Error, d.places[p.key], p.key, fmt.Sprintf("port %d is that of %s already", p.port, used[p.port]), "")
		default:
			used[p.port] = p.key
		}
	}
	if c.AllowLAN && c.BindAddress != "*" && c.BindAddress != "" && !isAddress(c.BindAddress) {
		d.report(Error, d.places["bind-address"], "bind-address", fmt.Sprintf("want * or an address, got %q", c.BindAddress), "")
	}
	if c.Controller.TLSAddr != "" && (c.TLS.Certificate == "" || c.TLS.PrivateKey == "") {
		d.report(Error, d.places["external-controller-tls"], "external-controller-tls", "needs tls.certificate and tls.private-key", "")
	}
	if c.Controller.TLSAddr != "" && (c.TLS.ClientAuthType != "" || c.TLS.ClientAuthCert != "") {
		// Left out it would let in whom the file keeps out.
		d.report(Error, d.places["tls"], "tls.client-auth-type", "not supported yet", "")
	}
	if (c.Upgrade.URL == "") != (c.Upgrade.PublicKey == "") {
		d.report(Error, d.places["upgrade"], "upgrade", "needs both url and public-key: nothing is run that is not signed", "")
	}
	for i, text := range c.TLS.CustomCertificates {
		if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
			d.report(Error, d.places["tls"], fmt.Sprintf("tls.custom-certifactes[%d]", i), "want a certificate in PEM", "")
		}
	}
}

// isAddress says whether s is an IP address; IPv6 may stand in brackets.
func isAddress(s string) bool {
	if inside, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inside, "]")
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

// checks are what strings must look like; a check returns what it wanted, or "".
var checks = map[string]func(string) string{
	"listen": func(s string) string {
		if err := listenAddr(s); err != nil {
			return "an address such as 127.0.0.1:9090"
		}
		return ""
	},
	"minisign": func(s string) string {
		if _, err := minisign.ParseKey(s); err != nil {
			return "a public key of minisign, which begins with RW"
		}
		return ""
	},
	"url": func(s string) string {
		if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return "an http or https URL"
		}
		return ""
	},
}

func listenAddr(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return errors.New("port")
	}
	if strings.ContainsAny(host, " /") {
		return errors.New("host")
	}
	return nil
}
