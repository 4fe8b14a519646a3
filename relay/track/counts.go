package track

import (
	"slices"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// networks is how many networks there are, with the zero Network.
const networks = int(flow.UDP) + 1

// tally counts the flows of a shard; its mutex guards it.
type tally struct {
	opened, closed [networks][flow.Kinds]uint64
	ended          [len(endings)]uint64
}

// endings are the words that count the ends of flows: few, whatever the reasons say in full.
var endings = [...]string{
	"done", "client_error", "target_error", "closed_by_api", "idle", "shutdown", "panic", "group_changed",
}

// ending is the place of a reason in endings. Those that name a group and its members are one.
func ending(r Reason) int {
	i := slices.Index([]Reason{Done, ClientError, TargetError, ByAPI, Idle, Shutdown, Panic}, r)
	if i < 0 {
		i = len(endings) - 1
	}
	return i
}

// classOf is the network and the kind of inbound of a flow, as indexes.
func classOf(f *flow.Flow) (network, kind int) {
	if f == nil || int(f.Network) >= networks || int(f.Kind) >= flow.Kinds {
		return 0, 0
	}
	return int(f.Network), int(f.Kind)
}

// Class counts the flows of one network that came in one way.
type Class struct {
	Network      flow.Network
	Kind         flow.Kind
	Opened, Live uint64
}

// Ending counts flows by the word for their end.
type Ending struct {
	Word  string
	Count uint64
}

// Counts counts the flows since start: by class, those of which there were any, and by how they ended.
func (t *Table) Counts() (classes []Class, ends []Ending) {
	var sum tally
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		sum.add(&s.tally)
		s.mu.Unlock()
	}
	for n := range sum.opened {
		for k, opened := range sum.opened[n] {
			if opened > 0 {
				classes = append(classes, Class{flow.Network(n), flow.Kind(k), opened, opened - sum.closed[n][k]})
			}
		}
	}
	for i, word := range endings {
		ends = append(ends, Ending{word, sum.ended[i]})
	}
	return classes, ends
}

func (t *tally) add(o *tally) {
	for n := range t.opened {
		for k := range t.opened[n] {
			t.opened[n][k] += o.opened[n][k]
			t.closed[n][k] += o.closed[n][k]
		}
	}
	for i := range t.ended {
		t.ended[i] += o.ended[i]
	}
}
