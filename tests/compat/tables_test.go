package compat

// later names the samples of what this version has not got, as regular expressions, and what they
// wait for.
var later = []struct{ samples, what string }{
	{`(cache|dns|doh)-.*`, "the resolver"},
	{`configs-put-dns-.*|configs-put-payload-dns-.*`, "the resolver"},
	{`configs-put-payload-hosts-.*`, "hosts"},
	{`connections-(fakeip|redirhost)-entry`, "the resolver"},
	{`connections-sniffed-entry|configs-patch-sniffing-true|configs-put-payload-sniffer-bad`, "the sniffer"},
	{`delay-.*|group-delay-.*|proxy-get-(after-.*|history-capped)`, "delay tests"},
	{`group-get(-after-bad-delay)?|proxy-(get|put|delete)-(fallback|loadbalance|relay|urltest).*|connections-entry-chain`, "groups that choose by themselves"},
	{`proxy-get-empty-group|proxy-get-provider-member|(pp|providers|rp)-.*`, "providers"},
	{`configs-put-payload-(provider|ruleprov)-.*|configs-put-payload-group-(missing-provider|provider-name-clash)`, "providers"},
	{`configs-put-payload-group-bad-(expected|strategy)`, "groups that choose by themselves"},
	{`configs-put-payload-proxy-bad-(cipher|uuid)`, "more protocols"},
	{`configs-geo-.*|configs-put-(asn|geo).*|connections-(ip-target|resolved-host)`, "geo data"},
	{`configs-put-payload-(logic-.*|not-two|sub-rule-missing|subrule-.*|rule-set-missing)`, "more rules"},
	{`configs-put-payload-rule-bad-(asn|dscp|intype|regex|suffix|uid)`, "more rules"},
	{`connections-(entry-subrule|list)|rules-patch-disable`, "more rules"},
	{`configs-put-listener-conflict|configs-put-payload-(listener|tunnel)-.*|connections-(entry-tunnel|udp-entry)`, "listeners and tunnels"},
	{`configs-patch-(redir|tproxy|ss-config|tun-enable)`, "more inbounds"},
	{`(ui|noui)-.*`, "the web panel"},
	{`(restart|upgrade)(-.*)?`, "restart and upgrade"},
	{`storage-.*`, "the storage"},
}

// deviations are what is different on purpose: in which samples, what, and why. The first two are
// regular expressions; A1 to A41 are numbers in the notes on the reference.
var deviations = []struct{ samples, what, why string }{
	{`.*`, `body\.code: added`, "errors say in a word what went wrong"},
	{`root-get`, `body\.hello: "switchyard", not .*`, "our name"},
	{`configs-patch-null`, `status: 204, not 0: `, "A1: null is as if absent"},
	{`configs-patch-port-(70000|negative|conflict-self)`, `status: 400, not 204: .*`, "A15: a port that cannot be is an error"},
	{`configs-patch-port-in-use|configs-put-port-conflict-force`, `status: 500, not 204: .*"step":"inbounds".*`, "A15: a port that cannot be bound is an error, and nothing changes"},
	{`configs-patch-skip-auth-bad`, `body\.message: "Body invalid: .*`, "the text says what is invalid"},
	{`configs-put-(empty-file|outside-home-missing)`, `body\.message: "path is not subpath of home directory or SAFE_PATHS: .*`, "A21: only allowed folders are looked at"},
	{`configs-put-path-is-dir|configs-put-missing-file`, `body\.message: .*`, "the text is the system's"},
	{`configs-put-payload-.*`, `body\.message: .*`, "every mistake is told, with its line"},
	{`configs-put-payload-.*`, `body\.diagnostics: added`, "every mistake is told, with its line"},
	{`configs-put-payload-rule-two-parts`, `status: 400, not 204: .*`, "A27: a rule with two fields is a typing mistake"},
	{`configs-get.*`, `body\.global-ua: .*`, "our name"},
	{`configs-get-minimal`, `body\.geox-url\..*: "", not .*`, "geo data comes later, and without built-in addresses"},
	{`configs-get.*`, `body\.(tun\.inet[46]-address|tuic-server\.mux-option): missing|body\.tuic-server\.ech-key: added`, "these inbounds come later, in their newer shape"},
	{`configs-get(-after)?`, `body\.sniffing: false, not true`, "the sniffer comes later"},
	{`connections-empty`, `body\.connections: array, not null`, "A23: an empty list is a list"},
	{`connections-.*`, `body\.connections\[0\]\.providerChains: added`, "newer versions of the family have it"},
	{`debug-(gc|pprof|pprof-heap|root|root-slash)`, `status: 401, not (200|301): .*`, "A5: debugging needs the secret"},
}
