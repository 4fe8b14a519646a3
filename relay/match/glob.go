package match

// Glob says whether all of s looks like pattern, in which * stands for any number of bytes, also
// none, and ? for one.
func Glob(pattern, s string) bool {
	p, i := 0, 0
	star, after := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, after = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0: // the last star takes one byte more
			after++
			p, i = star+1, after
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
