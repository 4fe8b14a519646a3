package config

import (
	"fmt"
	"strings"
)

const (
	maxHints   = 100 // searches for a near name in one configuration
	maxHintLen = 64  // bytes of a name worth comparing
)

// DidYouMean is a hint that names the candidate nearest to name, or "".
func DidYouMean(name string, candidates []string) string {
	if len(name) > maxHintLen || name == "" {
		return ""
	}
	best, bestDist := "", len(name)/3
	for _, c := range candidates {
		if len(c) > maxHintLen || abs(len(c)-len(name)) > bestDist {
			continue
		}
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d <= bestDist && (best == "" || d < bestDist) {
			best, bestDist = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

func abs(n int) int { return max(n, -n) }

// distance is the number of single-letter edits and swaps of neighbours between a and b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
