package rule

import "slices"

// kind is what a compiled rule looks at.
type kind uint8

const (
	never kind = iota // no kind of rule
	always
	domain
	domainSuffix
	domainKeyword
	domainRegex
	domainWildcard
	ipCIDR
	srcIPCIDR
	ipSuffix
	srcIPSuffix
	dstPort
	srcPort
	inPort
	inType
	inUser
	inName
	network
	dscp
	uid
	processName
	processPath
	processNameRegex
	processPathRegex
	processNameWildcard
	processPathWildcard
	rematchName
	namedSet // a set whose kind is known when it is asked: RULE-SET
	siteSet
	addressSet
	srcAddressSet
	and
	or
	not
	subRule
)

// needsProcess says whether a rule of this kind cannot be judged without the process.
func (k kind) needsProcess() bool { return k >= uid && k <= processPathWildcard }

// ruleType is a type of rule: its name in the API, what it compiles to, and its name in the API with
// the parameter src.
type ruleType struct {
	api  string
	kind kind
	src  string
}

// Types are the names of all types of rules, as a configuration spells them, sorted.
func Types() []string { return sortedKeys(types) }

// Words are the names of all types of rules in the API, sorted.
func Words() []string {
	var list []string
	for _, t := range types {
		list = append(list, t.api)
		if t.src != "" {
			list = append(list, t.src)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

var types = map[string]ruleType{
	"DOMAIN":                {"Domain", domain, ""},
	"DOMAIN-SUFFIX":         {"DomainSuffix", domainSuffix, ""},
	"DOMAIN-KEYWORD":        {"DomainKeyword", domainKeyword, ""},
	"DOMAIN-REGEX":          {"DomainRegex", domainRegex, ""},
	"DOMAIN-WILDCARD":       {"DomainWildcard", domainWildcard, ""},
	"GEOSITE":               {"GeoSite", siteSet, ""},
	"GEOIP":                 {"GeoIP", addressSet, "SrcGeoIP"},
	"SRC-GEOIP":             {"SrcGeoIP", srcAddressSet, ""},
	"IP-ASN":                {"IPASN", addressSet, "SrcIPASN"},
	"SRC-IP-ASN":            {"SrcIPASN", srcAddressSet, ""},
	"IP-CIDR":               {"IPCIDR", ipCIDR, "SrcIPCIDR"},
	"IP-CIDR6":              {"IPCIDR", ipCIDR, "SrcIPCIDR"},
	"SRC-IP-CIDR":           {"SrcIPCIDR", srcIPCIDR, ""},
	"IP-SUFFIX":             {"IPSuffix", ipSuffix, "SrcIPSuffix"},
	"SRC-IP-SUFFIX":         {"SrcIPSuffix", srcIPSuffix, ""},
	"DST-PORT":              {"DstPort", dstPort, ""},
	"SRC-PORT":              {"SrcPort", srcPort, ""},
	"IN-PORT":               {"InPort", inPort, ""},
	"DSCP":                  {"DSCP", dscp, ""},
	"UID":                   {"Uid", uid, ""},
	"IN-TYPE":               {"InType", inType, ""},
	"IN-USER":               {"InUser", inUser, ""},
	"IN-NAME":               {"InName", inName, ""},
	"NETWORK":               {"Network", network, ""},
	"PROCESS-NAME":          {"ProcessName", processName, ""},
	"PROCESS-PATH":          {"ProcessPath", processPath, ""},
	"PROCESS-NAME-REGEX":    {"ProcessNameRegex", processNameRegex, ""},
	"PROCESS-PATH-REGEX":    {"ProcessPathRegex", processPathRegex, ""},
	"PROCESS-NAME-WILDCARD": {"ProcessNameWildcard", processNameWildcard, ""},
	"PROCESS-PATH-WILDCARD": {"ProcessPathWildcard", processPathWildcard, ""},
	"REMATCH-NAME":          {"RematchName", rematchName, ""},
	"RULE-SET":              {"RuleSet", namedSet, ""},
	"AND":                   {"AND", and, ""},
	"OR":                    {"OR", or, ""},
	"NOT":                   {"NOT", not, ""},
	"SUB-RULE":              {"SubRules", subRule, ""},
	"MATCH":                 {"Match", always, ""},
}

// source is the kind that looks at the source where k looks at the destination.
func (k kind) source() kind {
	switch k {
	case ipCIDR:
		return srcIPCIDR
	case ipSuffix:
		return srcIPSuffix
	case addressSet:
		return srcAddressSet
	}
	return k
}
