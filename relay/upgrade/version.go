package upgrade

import (
	"cmp"
	"strconv"
	"strings"
)

// semantic is a version such as v1.2.3-alpha.4 (Semantic Versioning 2.0.0).
type semantic struct {
	numbers [3]uint64
	pre     []string
}

func parse(text string) (v semantic, ok bool) {
	text, ok = strings.CutPrefix(text, "v")
	if !ok {
		return v, false
	}
	text, _, _ = strings.Cut(text, "+")
	core, pre, early := strings.Cut(text, "-")
	parts := strings.Split(core, ".")
	if len(parts) != len(v.numbers) {
		return v, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 64)
		if err != nil {
			return v, false
		}
		v.numbers[i] = n
	}
	if early {
		v.pre = strings.Split(pre, ".")
	}
	return v, true
}

// prerelease says whether version comes before a release.
func prerelease(version string) bool {
	v, ok := parse(version)
	return ok && v.pre != nil
}

// compare orders two versions; where one is none that can be ordered known is false.
func compare(a, b string) (order int, known bool) {
	x, okX := parse(a)
	y, okY := parse(b)
	if !okX || !okY {
		return 0, false
	}
	for i := range x.numbers {
		if c := cmp.Compare(x.numbers[i], y.numbers[i]); c != 0 {
			return c, true
		}
	}
	switch {
	case x.pre == nil && y.pre == nil:
		return 0, true
	case x.pre == nil:
		return 1, true
	case y.pre == nil:
		return -1, true
	}
	for i := range min(len(x.pre), len(y.pre)) {
		if c := compareWords(x.pre[i], y.pre[i]); c != 0 {
			return c, true
		}
	}
	return cmp.Compare(len(x.pre), len(y.pre)), true
}

// compareWords orders two words of what comes before a release: numbers by value, and before all others.
func compareWords(a, b string) int {
	m, errA := strconv.ParseUint(a, 10, 64)
	n, errB := strconv.ParseUint(b, 10, 64)
	switch {
	case errA == nil && errB == nil:
		return cmp.Compare(m, n)
	case errA == nil:
		return -1
	case errB == nil:
		return 1
	}
	return strings.Compare(a, b)
}
