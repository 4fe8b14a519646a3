//go:build !race

package rule

import (
	"fmt"
	"strings"
	"testing"
)

func TestMatchAllocatesNothing(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "DOMAIN-SUFFIX,a%d.test\nDOMAIN-KEYWORD,k%d\nIP-CIDR,10.%d.0.0/16,no-resolve\nDST-PORT,%d-%d\n", i, i, i, i, i+1)
	}
	p := lines(t, b.String()+"MATCH")
	fl := named("www.example.test", 40000)
	if n := testing.AllocsPerRun(100, func() { p.Match(&fl, 0) }); n != 0 {
		t.Errorf("%v allocations a match", n)
	}
}
