package rule

import (
	"slices"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// portIndex finds the first rule about a port. The answer for the whole list is in a table once there
// are many rules; later rules, which only a flow that was handed on asks for, are looked at in order.
type portIndex struct {
	rules  []int32
	ranges []match.Ranges
	table  []int32 // of each port, the first rule; nil while the rules are few
	next   []int32 // of each port, the next one that has no rule yet; while the table grows
}

// fewPorts is how many rules are looked at without a table.
const fewPorts = 8

func newPortIndex() *portIndex { return &portIndex{} }

func (x *portIndex) add(rs match.Ranges, n int32) {
	x.rules, x.ranges = append(x.rules, n), append(x.ranges, rs)
	switch {
	case x.table != nil:
		x.paint(rs, n)
	case len(x.rules) > fewPorts:
		x.table, x.next = make([]int32, 1<<16), make([]int32, 1<<16+1)
		for i := range x.next {
			x.next[i] = int32(i)
		}
		for i := range x.table {
			x.table[i] = no
		}
		for i, rs := range x.ranges {
			x.paint(rs, x.rules[i])
		}
	}
}

// paint gives the ports of rs that have no rule yet to rule n; each port is painted once.
func (x *portIndex) paint(rs match.Ranges, n int32) {
	for _, r := range rs {
		for port := x.free(int32(r.From)); port <= int32(r.To); port = x.free(port) {
			x.table[port] = n
			x.next[port] = port + 1
		}
	}
}

// free is the first port from port on without a rule.
func (x *portIndex) free(port int32) int32 {
	for x.next[port] != port {
		x.next[port] = x.next[x.next[port]]
		port = x.next[port]
	}
	return port
}

// first is the first rule from from on that port is in, or best where that comes first.
func (x *portIndex) first(port uint16, from, best int32) int32 {
	if x.table != nil {
		if i := x.table[port]; i >= from { // also where there is none
			return min(best, i)
		}
	}
	k, _ := slices.BinarySearch(x.rules, from)
	for ; k < len(x.rules) && x.rules[k] < best; k++ {
		if x.ranges[k].Has(uint32(port)) {
			return x.rules[k]
		}
	}
	return best
}
