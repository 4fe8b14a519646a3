package rule

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// portRange is an inclusive range of ports.
type portRange struct{ lo, hi uint16 }

func inRanges(rs []portRange, port uint16) bool {
	for _, r := range rs {
		if r.lo <= port && port <= r.hi {
			return true
		}
	}
	return false
}

// types is how each rule type is compiled, and its name in the API.
var types = map[string]struct {
	api     string
	compile func(o *op, info *Info, r *Rule) error
}{
	"DOMAIN":         {"Domain", name(domain)},
	"DOMAIN-SUFFIX":  {"DomainSuffix", name(domainSuffix)},
	"DOMAIN-KEYWORD": {"DomainKeyword", keyword},
	"IP-CIDR":        {"IPCIDR", prefix(ipCIDR)},
	"IP-CIDR6":       {"IPCIDR", prefix(ipCIDR)},
	"SRC-IP-CIDR":    {"SrcIPCIDR", prefix(srcIPCIDR)},
	"DST-PORT":       {"DstPort", ports(dstPort)},
	"SRC-PORT":       {"SrcPort", ports(srcPort)},
	"IN-PORT":        {"InPort", ports(inPort)},
	"NETWORK":        {"Network", networkOp},
	"MATCH":          {"Match", matchOp},
}

func compile(r *Rule) (op, Info, error) {
	t, ok := types[r.Type]
	if !ok {
		return op{}, Info{}, fmt.Errorf("%w %q", errUnknownType, r.Type)
	}
	o, info := op{}, Info{Type: t.api, Payload: r.Payload, Target: r.Target, Size: -1}
	if err := t.compile(&o, &info, r); err != nil {
		return op{}, Info{}, err
	}
	return o, info, nil
}

func name(k kind) func(*op, *Info, *Rule) error {
	return func(o *op, info *Info, r *Rule) error {
		host, ip, err := flow.ParseHost(r.Payload)
		if err != nil {
			return fmt.Errorf("want a domain name, got %q", r.Payload)
		}
		if ip.IsValid() { // configurations have such rules; no name is ever an address
			host = r.Payload
		}
		o.kind, o.text, info.Payload = k, host, host
		return nil
	}
}

func keyword(o *op, info *Info, r *Rule) error {
	if r.Payload == "" {
		return errors.New("want a part of a domain name, got nothing")
	}
	text := strings.ToLower(r.Payload)
	if host, ip, err := flow.ParseHost(text); err == nil && !ip.IsValid() && !isASCII(text) {
		text = host // an IDN keyword means its punycode
	}
	o.kind, o.text, info.Payload = domainKeyword, text, text
	return nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func prefix(k kind) func(*op, *Info, *Rule) error {
	return func(o *op, info *Info, r *Rule) error {
		p, err := netip.ParsePrefix(r.Payload)
		if err != nil {
			return fmt.Errorf("want a prefix such as 192.0.2.0/24 or 2001:db8::/32, got %q", r.Payload)
		}
		o.kind, o.prefix, info.Payload = k, p.Masked(), p.String()
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			o.prefix = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
		}
		if k == ipCIDR && slices.Contains(r.Params, "src") {
			o.kind, info.Type = srcIPCIDR, "SrcIPCIDR"
		}
		o.resolve = o.kind == ipCIDR && !slices.Contains(r.Params, "no-resolve")
		return nil
	}
}

// maxRanges bounds the items of a port list, as the family does.
const maxRanges = 28

func ports(k kind) func(*op, *Info, *Rule) error {
	return func(o *op, _ *Info, r *Rule) error {
		o.kind = k
		for item := range strings.FieldsFuncSeq(r.Payload, func(c rune) bool { return c == '/' || c == ',' }) {
			rg, err := parseRange(strings.Trim(item, " []"))
			if err != nil {
				return err
			}
			o.ports = append(o.ports, rg)
		}
		if len(o.ports) == 0 || len(o.ports) > maxRanges {
			return fmt.Errorf("want 1 to %d ports or ranges such as 80/443/1000-2000, got %q", maxRanges, r.Payload)
		}
		return nil
	}
}

func parseRange(s string) (portRange, error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	lo, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
	hi, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
	if err1 != nil || err2 != nil {
		return portRange{}, fmt.Errorf("want a port from 0 to 65535 or a range, got %q", s)
	}
	if lo > hi {
		lo, hi = hi, lo
	}
	return portRange{uint16(lo), uint16(hi)}, nil
}

func networkOp(o *op, info *Info, r *Rule) error {
	o.kind = network
	switch strings.ToLower(r.Payload) {
	case "tcp":
		o.network = flow.TCP
	case "udp":
		o.network = flow.UDP
	default:
		return fmt.Errorf("want tcp or udp, got %q", r.Payload)
	}
	info.Payload = o.network.String()
	return nil
}

func matchOp(o *op, info *Info, _ *Rule) error {
	o.kind, info.Payload = match, ""
	return nil
}
