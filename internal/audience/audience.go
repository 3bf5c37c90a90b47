// Package audience reckons who of a run's subscribers gets a message of a topic, by the rules of MQTT (3.1.1 and 5, section 4.7).
package audience

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"sync"
)

// Subscriber is one that listens.
type Subscriber struct {
	Index   int      // in the fleet: who gets a copy is told by it
	Filters []string // one twice is one subscription; "$share/NAME/FILTER" shares it with those that say the same
	NoLocal bool     // it does not get what it sends; shared subscriptions know no such thing
}

// Audience is who gets a message: slots, each of which is to get one copy. First come those of subscribers, then those of shared
// groups. It is not changed, and equal audiences of an Index are one.
type Audience struct {
	Own    []Own    // by the index of the subscriber
	Groups []*Group // in the order in which the Index learned of them
}

// Own is the slot of a subscriber that gets a copy for itself.
type Own struct {
	Subscriber int
	// Copies is how many the target may send where several filters of the subscriber match: it may send one, or one for each filter
	// (section 3.3.5 of 3.1.1, 3.3.4 of 5).
	Copies int
}

// Group is the slot of a shared group, of which one member gets a copy. Two filters of one name are two groups (5, section 4.8.2).
type Group struct {
	Name    string
	Filter  string
	Members []int // in order

	number int
}

// Slots is how many copies are to arrive at least: one a subscriber and group, whatever filters overlap.
func (a *Audience) Slots() int { return len(a.Own) + len(a.Groups) }

// Of is the slot of a subscriber's own; ok is false when it has none.
func (a *Audience) Of(subscriber int) (slot int, ok bool) {
	return slices.BinarySearchFunc(a.Own, subscriber, func(o Own, s int) int { return cmp.Compare(o.Subscriber, s) })
}

// Has reports whether a subscriber may get a copy, for itself or for a group.
func (a *Audience) Has(subscriber int) bool {
	_, ok := a.Of(subscriber)
	return ok || slices.ContainsFunc(a.Groups, func(g *Group) bool { return g.Has(subscriber) })
}

// Copies is how many copies a slot may get.
func (a *Audience) Copies(slot int) int {
	if slot < len(a.Own) {
		return a.Own[slot].Copies
	}
	return 1
}

// Overlap reports whether a subscriber may get several copies.
func (a *Audience) Overlap() bool {
	return slices.ContainsFunc(a.Own, func(o Own) bool { return o.Copies > 1 })
}

// Has reports whether a subscriber is a member.
func (g *Group) Has(subscriber int) bool {
	_, ok := slices.BinarySearch(g.Members, subscriber)
	return ok
}

// Absent are the slots, in order, for which nobody is there: of subscribers that are not, and of groups without a member that is.
func (a *Audience) Absent(there func(subscriber int) bool) (slots []int) {
	for i, o := range a.Own {
		if !there(o.Subscriber) {
			slots = append(slots, i)
		}
	}
	for i, g := range a.Groups {
		if !slices.ContainsFunc(g.Members, there) {
			slots = append(slots, len(a.Own)+i)
		}
	}
	return slots
}

// Index finds the audiences of topics. It may be used by several goroutines.
type Index struct {
	root     node
	noLocal  map[int]bool
	audience sync.Map // by what tells one from others: *Audience
}

// node is a level of filters, and those that end there.
type node struct {
	next        map[string]*node
	subscribers []int // in the order of subscribers; each once
	groups      []*Group
}

// New is an index of subscribers. Their filters are valid.
func New(subscribers []Subscriber) *Index {
	x := &Index{noLocal: make(map[int]bool)}
	var all []*Group
	for _, s := range subscribers {
		if s.NoLocal {
			x.noLocal[s.Index] = true
		}
		for _, filter := range s.Filters {
			if name, shared, ok := share(filter); ok {
				n := x.root.at(shared)
				g := n.group(name)
				if g == nil {
					g = &Group{Name: name, Filter: shared, number: len(all)}
					n.groups, all = append(n.groups, g), append(all, g)
				}
				g.Members = append(g.Members, s.Index)
				continue
			}
			n := x.root.at(filter)
			n.subscribers = append(n.subscribers, s.Index)
		}
	}
	x.root.sort()
	for _, g := range all {
		g.Members = once(g.Members)
	}
	return x
}

// share takes a shared subscription apart.
func share(filter string) (name, rest string, ok bool) {
	after, ok := strings.CutPrefix(filter, "$share/")
	if ok {
		name, rest, ok = strings.Cut(after, "/")
	}
	return name, rest, ok && name != "" && rest != ""
}

// at is the node of a filter, made if there is none.
func (n *node) at(filter string) *node {
	for level := range strings.SplitSeq(filter, "/") {
		if n.next == nil {
			n.next = make(map[string]*node)
		}
		if n.next[level] == nil {
			n.next[level] = new(node)
		}
		n = n.next[level]
	}
	return n
}

func (n *node) group(name string) *Group {
	if i := slices.IndexFunc(n.groups, func(g *Group) bool { return g.Name == name }); i >= 0 {
		return n.groups[i]
	}
	return nil
}

func (n *node) sort() {
	n.subscribers = once(n.subscribers)
	for _, next := range n.next {
		next.sort()
	}
}

// once are the numbers in their order, each once.
func once(all []int) []int {
	slices.Sort(all)
	return slices.Compact(all)
}

// match finds the nodes whose filters match the rest of a topic: what comes behind the levels that led here. more is false when nothing
// does.
func (n *node) match(rest string, more, first bool, found []*node) []*node {
	wild := !first || !strings.HasPrefix(rest, "$")
	if next := n.next["#"]; next != nil && wild { // it matches the level above too
		found = append(found, next)
	}
	if !more {
		return append(found, n)
	}
	level, rest, more := strings.Cut(rest, "/")
	if next := n.next[level]; next != nil {
		found = next.match(rest, more, false, found)
	}
	if next := n.next["+"]; next != nil && wild {
		found = next.match(rest, more, false, found)
	}
	return found
}

// own are the slots of subscribers that nodes have, but for a publisher that does not get what it sends.
func (x *Index) own(nodes []*node, publisher int) []Own {
	var all []Own
	for _, n := range nodes {
		for _, s := range n.subscribers {
			if s != publisher || !x.noLocal[s] {
				all = append(all, Own{s, 1})
			}
		}
	}
	slices.SortFunc(all, func(a, b Own) int { return cmp.Compare(a.Subscriber, b.Subscriber) })
	out := all[:0]
	for _, o := range all {
		if len(out) > 0 && out[len(out)-1].Subscriber == o.Subscriber {
			out[len(out)-1].Copies++
			continue
		}
		out = append(out, o)
	}
	return out
}

// Of is the audience of a message to a topic from a publisher: its index in the fleet, or a negative number for somebody else.
func (x *Index) Of(topic string, publisher int) *Audience {
	a := new(Audience)
	nodes := x.root.match(topic, true, true, nil)
	a.Own = x.own(nodes, publisher)
	for _, n := range nodes {
		a.Groups = append(a.Groups, n.groups...)
	}
	slices.SortFunc(a.Groups, func(a, b *Group) int { return cmp.Compare(a.number, b.number) })
	key := a.key()
	if known, ok := x.audience.Load(key); ok {
		return known.(*Audience)
	}
	a.Own = slices.Clip(slices.Clone(a.Own))
	known, _ := x.audience.LoadOrStore(key, a)
	return known.(*Audience)
}

// key tells audiences from each other.
func (a *Audience) key() string {
	key := binary.AppendUvarint(make([]byte, 0, 8+3*len(a.Own)), uint64(len(a.Own)))
	last := 0
	for _, o := range a.Own {
		key = binary.AppendVarint(key, int64(o.Subscriber-last))
		key = binary.AppendUvarint(key, uint64(o.Copies))
		last = o.Subscriber
	}
	for _, g := range a.Groups {
		key = binary.AppendUvarint(key, uint64(g.number))
	}
	return string(key)
}

// Hearers goes through the subscribers that may get a message, for themselves or for a shared group: one for each filter of theirs that matches.
func (x *Index) Hearers(topic string, publisher int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, n := range x.root.match(topic, true, true, nil) {
			for _, s := range n.subscribers {
				if (s != publisher || !x.noLocal[s]) && !yield(s) {
					return
				}
			}
			for _, g := range n.groups {
				for _, s := range g.Members {
					if !yield(s) {
						return
					}
				}
			}
		}
	}
}

// Fanout is how many deliveries a message to a topic from a publisher brings, as Slots counts them. It keeps nothing: plans ask it of
// topics that are never sent.
func (x *Index) Fanout(topic string, publisher int) int {
	nodes := x.root.match(topic, true, true, nil)
	n := len(x.own(nodes, publisher))
	for _, node := range nodes {
		n += len(node.groups)
	}
	return n
}
