package nameserver

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// typePrefix and the number of a type are a parameter too.
const typePrefix = "disable-qtype-"

// parameters are those that can stand behind the #; the number of the last is any.
var parameters = [...]string{
	"h3", "skip-cert-verify", "ecs", "ecs-override", "disable-ipv4", "disable-ipv6", typePrefix + "65",
}

// parseFragment reads what stands behind the #. Where a parameter is repeated, the last one counts.
func (s *Server) parseFragment(fragment string) error {
	for part := range strings.SplitSeq(fragment, "&") {
		name, value, found := strings.Cut(part, "=")
		var err error
		switch {
		case part == "":
		case found:
			err = s.parseParameter(name, unescape(value))
		case bare(part):
			err = errBare(part)
		case s.Via != "":
			err = errors.New("behind the # two proxies, groups or interfaces are named: want one")
		default:
			s.Via = unescape(part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bare says whether a part is the name of a parameter: nobody means an interface by it. What is called
// so can be written with an escape.
func bare(part string) bool {
	if number, ok := strings.CutPrefix(part, typePrefix); ok {
		return number != "" && strings.Trim(number, "0123456789") == ""
	}
	return slices.Contains(parameters[:], part)
}

func errBare(name string) error {
	if name == "ecs" {
		return errors.New("ecs has no value: write ecs=192.0.2.0/24")
	}
	return fmt.Errorf("%s has no value: write %s=true", name, name)
}

// unescape undoes percent-encoding, where text is valid as such.
func unescape(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

func (s *Server) parseParameter(name, value string) (err error) {
	if name == "ecs" {
		return s.parseSubnet(value)
	}
	on, isBool := value == "true" || value == "1", true
	if !on {
		isBool = value == "false" || value == "0"
	}
	qtype, isType := strings.CutPrefix(name, typePrefix)
	switch {
	case !isType && !slices.Contains(parameters[:], name):
		return errUnknown(name)
	case !isBool:
		return fmt.Errorf("want true or false behind %s=", name)
	case isType:
		return s.disableType(qtype, on)
	}
	switch name {
	case "h3":
		s.H3 = on
	case "skip-cert-verify":
		s.SkipVerify = on
	case "ecs-override":
		s.SubnetAlways = on
	case "disable-ipv4":
		s.NoIPv4 = on
	case "disable-ipv6":
		s.NoIPv6 = on
	}
	return nil
}

// disableType reads the number behind typePrefix.
func (s *Server) disableType(number string, on bool) error {
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return errors.New("want the number of a type, 1-65535, behind " + typePrefix)
	}
	t := uint16(n)
	s.NoTypes = slices.DeleteFunc(s.NoTypes, func(have uint16) bool { return have == t })
	if on {
		s.NoTypes = append(s.NoTypes, t)
	}
	return nil
}

// parseSubnet reads a prefix, or an address, which is a prefix of one.
func (s *Server) parseSubnet(value string) error {
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		ip, err := netip.ParseAddr(value)
		if err != nil || ip.Zone() != "" {
			return errors.New("want a prefix such as 192.0.2.0/24 or 2001:db8::/56, or an address, behind ecs=")
		}
		prefix = netip.PrefixFrom(ip, ip.BitLen())
	}
	if ip := prefix.Addr(); ip.Is4In6() {
		const before = 128 - 32 // bits that say so
		if prefix.Bits() < before {
			return errors.New("the prefix behind ecs= is wider than IPv4: want one such as 192.0.2.0/24")
		}
		prefix = netip.PrefixFrom(ip.Unmap(), prefix.Bits()-before)
	}
	s.Subnet = prefix.Masked()
	return nil
}

// UnknownParameter says that there is no such parameter.
type UnknownParameter struct{ Name string } // "" for one that may hold a secret

func errUnknown(name string) error {
	if !plain(strings.ToLower(name)) {
		name = ""
	}
	return &UnknownParameter{name}
}

func (e *UnknownParameter) Error() string {
	what := e.Name
	if what == "" {
		what = "behind the #"
	}
	return "unknown parameter " + what + "; known are " + strings.Join(parameters[:], ", ")
}

// Parameters are the names of all parameters; the number of the last is any.
func Parameters() []string { return slices.Clone(parameters[:]) }
