package match

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is an inclusive range of numbers.
type Range struct{ From, To uint32 }

// Ranges is a set of numbers: ports, users, code points.
type Ranges []Range

// maxRanges bounds the items of a list, as the family does.
const maxRanges = 28

// ParseRanges reads a list such as 80/443/1000-2000 of numbers up to limit. Items may also be parted
// by commas.
func ParseRanges(s string, limit uint32) (Ranges, error) {
	var rs Ranges
	for item := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == '/' || c == ',' }) {
		r, err := parseRange(strings.Trim(item, " []"), limit)
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	if len(rs) == 0 || len(rs) > maxRanges {
		return nil, fmt.Errorf("want 1 to %d numbers or ranges such as 80/443/1000-2000, got %q", maxRanges, s)
	}
	return rs, nil
}

func parseRange(s string, limit uint32) (Range, error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	lo, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 32)
	hi, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 32)
	if err1 != nil || err2 != nil || lo > uint64(limit) || hi > uint64(limit) {
		return Range{}, fmt.Errorf("want a number from 0 to %d or a range, got %q", limit, s)
	}
	return Range{uint32(min(lo, hi)), uint32(max(lo, hi))}, nil
}

// Has says whether n is in the set.
func (rs Ranges) Has(n uint32) bool {
	for _, r := range rs {
		if r.From <= n && n <= r.To {
			return true
		}
	}
	return false
}

// firstFrom is the first of ascending numbers that is from or more, or none.
func firstFrom(numbers []int32, from, none int32) int32 {
	i, _ := slices.BinarySearch(numbers, from)
	if i == len(numbers) {
		return none
	}
	return numbers[i]
}
