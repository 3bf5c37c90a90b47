package scenario

import (
	"cmp"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/audience"
)

// Copies is how many deliveries a message of a kind brings, in the mean over the group's devices: what the file says, or with EverySubscriber what
// the topics say.
func (k *Kind) Copies() float64 {
	if k.Deliveries != EverySubscriber {
		return float64(k.Deliveries)
	}
	return k.fan.mean
}

// fan is how many deliveries messages of a kind bring by the topics of the run's subscribers.
type fan struct{ mean, least, most float64 }

const (
	mostFanned  = 1000      // devices of a group that are asked for it
	mostFilters = 2_000_000 // of the run; with more nothing is reckoned
)

// reckonFans finds out how many deliveries messages bring, where they are measured; it is false when it did not.
func (s *Scenario) reckonFans() bool {
	measured, filters := false, 0
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		measured = measured || g.Measured()
		filters += g.Count * len(g.Subscribe.Topics)
	}
	if !measured || s.Target.Can().Twins || filters > mostFilters {
		return false
	}
	index, first := audience.New(s.subscribers()), 0
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		for _, k := range g.Kinds() {
			if k.Deliveries != 0 {
				k.fan = s.fanOf(index, g, &k, first)
			}
		}
		first += g.Count
	}
	return true
}

// validateFans holds the number of subscribers that are to get messages to what their topics say.
func (r *reader) validateFans(s *Scenario) {
	if r.Problems() > 0 || !s.reckonFans() {
		return
	}
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		for _, k := range g.Kinds() {
			path := fmt.Sprintf("fleet.groups[%d].%s.deliveries", i, k.path)
			n := float64(k.Deliveries)
			switch {
			case k.Deliveries == EverySubscriber && k.fan.most == 0:
				r.FailAt(path, g.place, "nobody in this run subscribes to %s; give a group such a topic in subscribe, or remove deliveries", k.topicOf(s))
			case k.Deliveries > 0 && k.fan.most < n:
				r.FailAt(path, g.place, "%d subscribers are to get each message, but by their topics %g do; write deliveries: all, or other topics", k.Deliveries, k.fan.most)
			case k.Deliveries > 0 && k.fan.least > n:
				r.WarnAt(path, g.place, "by their topics %g subscribers get each message, and %d are waited for: with more than that nobody knows whose is missing; write "+
					"deliveries: all", k.fan.least, k.Deliveries)
			}
		}
	}
}

// fanOf is how many deliveries messages of one kind bring, by devices of the group at equal distances.
func (s *Scenario) fanOf(index *audience.Index, g *Group, k *Kind, first int) fan {
	var x fan
	n := min(g.Count, mostFanned)
	for j := range n {
		i := j * g.Count / n
		copies := float64(index.Fanout(g.Fill(cmp.Or(k.Topic, s.Target.Topic), g.DeviceID(i), i), first+i))
		if j == 0 || copies < x.least {
			x.least = copies
		}
		x.most = max(x.most, copies)
		x.mean += copies / float64(n)
	}
	return x
}

// subscribers are all devices of the scenario that listen, and to what.
func (s *Scenario) subscribers() (all []audience.Subscriber) {
	first := 0
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		for n := range g.Count {
			if !g.Listens() {
				break
			}
			filters := make([]string, len(g.Subscribe.Topics))
			for j, topic := range g.Subscribe.Topics {
				filters[j] = g.Fill(topic, g.DeviceID(n), n)
			}
			all = append(all, audience.Subscriber{Index: first + n, Filters: filters, NoLocal: g.Subscribe.NoLocal})
		}
		first += g.Count
	}
	return all
}
