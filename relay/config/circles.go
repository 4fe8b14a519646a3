package config

import (
	"slices"
	"strings"
)

// maxCircles bounds the circles that are told of one configuration.
const maxCircles = 20

// circles are the ways that lead back to where they begin, each once, found in one walk.
func circles(names []string, next map[string][]string) (loops [][]string) {
	var way []string
	at := make(map[string]int) // on the way, from 1; -1 for what has been walked
	var walk func(name string)
	walk = func(name string) {
		way = append(way, name)
		at[name] = len(way)
		for _, n := range next[name] {
			switch i := at[n]; {
			case i > 0 && len(loops) < maxCircles:
				loops = append(loops, append(slices.Clone(way[i-1:]), n))
			case i == 0:
				walk(n)
			}
		}
		at[name] = -1
		way = way[:len(way)-1]
	}
	for _, name := range names {
		if at[name] == 0 {
			walk(name)
		}
	}
	return loops
}

// maxWay is how many names of a circle are told.
const maxWay = 16

// wayFrom is a circle as it is told by one of its names.
func wayFrom(name string, loop []string, arrow string) string {
	ring := loop[1:] // its last is its first
	i := slices.Index(ring, name)
	way := slices.Concat(ring[i:], ring[:i])
	if len(way) > maxWay {
		way = append(way[:maxWay], "…")
	}
	return strings.Join(append(way, name), arrow)
}
