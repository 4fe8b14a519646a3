package rule

// kind is what a compiled rule looks at.
type kind uint8

const (
	never kind = iota // a rule that is switched off
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

// ruleType is a type of rule: its name in the API, what it compiles to, and how.
type ruleType struct {
	api     string
	kind    kind
	compile func(c *compiler, o *op, r *Rule) (payload string, err error)
	src     string // the name in the API with the parameter src
}

// Types are the names of all types of rules, as a configuration spells them, sorted.
func Types() []string { return sortedKeys(types) }

// types is set by init, because the logic rules refer to it.
var types map[string]ruleType

func init() {
	types = map[string]ruleType{
		"DOMAIN":                {"Domain", domain, compileName, ""},
		"DOMAIN-SUFFIX":         {"DomainSuffix", domainSuffix, compileName, ""},
		"DOMAIN-KEYWORD":        {"DomainKeyword", domainKeyword, compileKeyword, ""},
		"DOMAIN-REGEX":          {"DomainRegex", domainRegex, compileRegex, ""},
		"DOMAIN-WILDCARD":       {"DomainWildcard", domainWildcard, compileWildcard, ""},
		"GEOSITE":               {"GeoSite", siteSet, compileGeoSite, ""},
		"GEOIP":                 {"GeoIP", addressSet, compileGeoIP, "SrcGeoIP"},
		"SRC-GEOIP":             {"SrcGeoIP", srcAddressSet, compileGeoIP, ""},
		"IP-ASN":                {"IPASN", addressSet, compileASN, "SrcIPASN"},
		"SRC-IP-ASN":            {"SrcIPASN", srcAddressSet, compileASN, ""},
		"IP-CIDR":               {"IPCIDR", ipCIDR, compilePrefix, "SrcIPCIDR"},
		"IP-CIDR6":              {"IPCIDR", ipCIDR, compilePrefix, "SrcIPCIDR"},
		"SRC-IP-CIDR":           {"SrcIPCIDR", srcIPCIDR, compilePrefix, ""},
		"IP-SUFFIX":             {"IPSuffix", ipSuffix, compileIPSuffix, "SrcIPSuffix"},
		"SRC-IP-SUFFIX":         {"SrcIPSuffix", srcIPSuffix, compileIPSuffix, ""},
		"DST-PORT":              {"DstPort", dstPort, compileRanges, ""},
		"SRC-PORT":              {"SrcPort", srcPort, compileRanges, ""},
		"IN-PORT":               {"InPort", inPort, compileRanges, ""},
		"DSCP":                  {"DSCP", dscp, compileRanges, ""},
		"UID":                   {"Uid", uid, compileRanges, ""},
		"IN-TYPE":               {"InType", inType, compileInType, ""},
		"IN-USER":               {"InUser", inUser, compileWords, ""},
		"IN-NAME":               {"InName", inName, compileWords, ""},
		"NETWORK":               {"Network", network, compileNetwork, ""},
		"PROCESS-NAME":          {"ProcessName", processName, compileText, ""},
		"PROCESS-PATH":          {"ProcessPath", processPath, compileText, ""},
		"PROCESS-NAME-REGEX":    {"ProcessNameRegex", processNameRegex, compileRegex, ""},
		"PROCESS-PATH-REGEX":    {"ProcessPathRegex", processPathRegex, compileRegex, ""},
		"PROCESS-NAME-WILDCARD": {"ProcessNameWildcard", processNameWildcard, compileGlob, ""},
		"PROCESS-PATH-WILDCARD": {"ProcessPathWildcard", processPathWildcard, compileGlob, ""},
		"REMATCH-NAME":          {"RematchName", rematchName, compileText, ""},
		"RULE-SET":              {"RuleSet", namedSet, compileRuleSet, ""},
		"AND":                   {"AND", and, compileLogic, ""},
		"OR":                    {"OR", or, compileLogic, ""},
		"NOT":                   {"NOT", not, compileLogic, ""},
		"SUB-RULE":              {"SubRules", subRule, compileSubRule, ""},
		"MATCH":                 {"Match", always, compileMatch, ""},
	}
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
