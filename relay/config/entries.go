package config

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// maxMergeDepth and maxMerges bound how merge keys are followed, and the keys that they bring: one may lead to
// itself.
const (
	maxMergeDepth = 16
	maxMerges     = 1 << 20
)

// entry is one key of a map.
type entry struct {
	key *yaml.Node
	val value
}

// entries are the keys of a map in their order, with merge keys followed. What is written twice is
// an error; what stands in the map itself wins over what is merged.
func (v value) entries() []entry {
	if v.n.Kind != yaml.MappingNode {
		v.fail("want a map, got %s", v.got())
		return nil
	}
	if v.d.visits += len(v.n.Content) / 2; v.d.visits > maxVisits {
		v.tooLarge()
		return nil
	}
	var list []entry
	at := make(map[string]int, len(v.n.Content)/2)
	var merged []value
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, n := v.n.Content[i], v.n.Content[i+1]
		if k.Tag == "!!merge" || k.Value == "<<" && k.Style == 0 {
			merged = append(merged, value{v.d, n, v.path, v.weak, v.safe, v.deep + 1})
			continue
		}
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if first, dup := at[k.Value]; dup {
			v.d.report(Error, Pos{k.Line, k.Column}, join(v.path, k.Value),
				fmt.Sprintf("this key is there already, in line %d", list[first].key.Line), "")
			continue
		}
		at[k.Value] = len(list)
		list = append(list, entry{k, value{v.d, n, join(v.path, k.Value), v.weak, v.safe, v.deep}})
	}
	for _, m := range merged {
		for _, e := range m.mergedEntries() {
			if _, here := at[e.key.Value]; !here {
				at[e.key.Value] = len(list)
				list = append(list, e)
			}
		}
	}
	return list
}

// mergedEntries are the keys that a merge key brings: those of a map, or of a list of maps.
func (v value) mergedEntries() []entry {
	if v.d.merges++; v.deep > maxMergeDepth || v.d.merges > maxMerges {
		v.fail("merge keys lead too deep, or to themselves")
		return nil
	}
	if !v.resolve() {
		return nil
	}
	maps := []value{v}
	if v.n.Kind == yaml.SequenceNode {
		maps = nil
		for _, n := range v.n.Content {
			maps = append(maps, value{v.d, n, v.path, v.weak, v.safe, v.deep})
		}
	}
	var list []entry
	there := make(map[string]bool)
	for _, m := range maps {
		if v.d.merges > maxMerges || !m.resolve() {
			break
		}
		for _, e := range m.entries() {
			if v.d.merges++; !there[e.key.Value] { // the first of them wins
				there[e.key.Value] = true
				list = append(list, e)
			}
		}
	}
	return list
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
