package fakeip

// none is the end of a list.
const none int32 = -1

// list is one of the lists that the leases are in, by their numbers; a lease is in one at a time.
type list struct{ first, last int32 }

// link is the neighbours of a lease in its list.
type link struct{ prev, next int32 }

// push puts lease i, which is in no list, in front.
func (p *Pool) push(l *list, i int32) {
	p.links[i] = link{none, l.first}
	if l.first == none {
		l.last = i
	} else {
		p.links[l.first].prev = i
	}
	l.first = i
}

// remove takes lease i out of its list.
func (p *Pool) remove(l *list, i int32) {
	prev, next := p.links[i].prev, p.links[i].next
	if prev == none {
		l.first = next
	} else {
		p.links[prev].next = next
	}
	if next == none {
		l.last = prev
	} else {
		p.links[next].prev = prev
	}
}

// use makes lease i the one used last.
func (p *Pool) use(i int32) {
	if p.used.first != i {
		p.remove(&p.used, i)
		p.push(&p.used, i)
	}
}
