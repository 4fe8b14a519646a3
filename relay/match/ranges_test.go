package match

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseRanges(t *testing.T) {
	f := func(s string, limit uint32, want ...Range) {
		t.Helper()
		got, err := ParseRanges(s, limit)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseRanges(%q, %d) = %v, %v; want %v", s, limit, got, err, want)
		}
	}
	f("80", 65535, Range{80, 80})
	f("0/65535", 65535, Range{0, 0}, Range{65535, 65535})
	f("1-4294967295", math.MaxUint32, Range{1, math.MaxUint32})
	// The ends of a range in either order, commas, blanks, brackets, and items of nothing.
	f("9-1", 9, Range{1, 9})
	f("1,2/3-4", 9, Range{1, 1}, Range{2, 2}, Range{3, 4})
	f(" [1 - 2] ,[3]", 9, Range{1, 2}, Range{3, 3})
	f("//1,/", 9, Range{1, 1})
	// As many as there may be.
	f(strings.Repeat("1/", 28), 1, slices.Repeat([]Range{{1, 1}}, 28)...)
}

func TestParseRangesErrors(t *testing.T) {
	f := func(s string, limit uint32, want string) {
		t.Helper()
		got, err := ParseRanges(s, limit)
		if err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRanges(%q, %d) = %v, %v; want %q", s, limit, got, err, want)
		}
	}
	// Nothing, or too much of it.
	f("", 9, "want 1 to 28 numbers")
	f("/,/", 9, "want 1 to 28 numbers")
	f(strings.Repeat("1/", 29), 9, "want 1 to 28 numbers")
	// Beyond the limit, at either end.
	f("10", 9, "from 0 to 9")
	f("1-10", 9, "from 0 to 9")
	f("10-1", 9, "from 0 to 9")
	f("4294967296", math.MaxUint32, "from 0 to 4294967295")
	// No numbers.
	for _, s := range []string{"a", "-", "1-", "-1", "+1", "1-2-3", "0x1", "1_0", "1.5", " ", "1/ /2"} {
		f(s, 99, "want a number")
	}
}

func TestRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var items []string
		var want [12]bool
		for range 1 + r.IntN(4) {
			from, to := r.IntN(10), r.IntN(10)
			item := fmt.Sprintf("%d-%d", from, to)
			if from == to {
				item = strconv.Itoa(from)
			}
			items = append(items, item)
			for i := min(from, to); i <= max(from, to); i++ {
				want[i] = true
			}
		}
		s := strings.Join(items, pick(r, "/", ","))
		rs, err := ParseRanges(s, 9)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got := rs.Has(uint32(i)); got != want[i] {
				t.Fatalf("%q: Has(%d) = %v", s, i, got)
			}
		}
	}
}

func FuzzParseRanges(f *testing.F) {
	f.Add("80/443,[1000-2000]", uint32(65535))
	f.Add("4294967295-0", uint32(math.MaxUint32))
	f.Add("/,", uint32(0))
	f.Fuzz(func(t *testing.T, s string, limit uint32) {
		rs, err := ParseRanges(s, limit)
		if err != nil {
			return
		}
		if len(rs) == 0 || len(rs) > maxRanges {
			t.Errorf("%q: %d ranges", s, len(rs))
		}
		var items []string
		for _, r := range rs {
			if r.From > r.To || r.To > limit || !rs.Has(r.From) || !rs.Has(r.To) {
				t.Errorf("%q: %v", s, r)
			}
			items = append(items, fmt.Sprintf("%d-%d", r.From, r.To))
		}
		again, err := ParseRanges(strings.Join(items, "/"), limit)
		if err != nil || !slices.Equal(again, rs) {
			t.Errorf("%q: %v, and written anew %v, %v", s, rs, again, err)
		}
	})
}
