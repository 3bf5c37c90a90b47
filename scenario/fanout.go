package scenario

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/audience"
	"github.com/twinfleet/twinfleet/metrics"
)

// CopiesTo is Copies while only a share of the devices of each group, from 0 to 1, is there to get them; of a shared subscription, as if each of
// its members got its part.
func (k *Kind) CopiesTo(present func(group int) float64) float64 {
	if len(k.fan.by) == 0 {
		return k.Copies()
	}
	n := 0.0
	for i, group := range k.fan.hearers {
		n += k.fan.by[i] * present(group)
	}
	return k.Copies() * n
}

// Copies is how many deliveries a message of a kind brings, in the mean over the group's devices: what the file says, or with EverySubscriber what
// the topics say.
func (k *Kind) Copies() float64 {
	if k.Deliveries != EverySubscriber {
		return float64(k.Deliveries)
	}
	return k.fan.mean
}

// fan is how many deliveries messages of a kind bring by the topics of the run's subscribers, and the groups of which some get them.
type fan struct {
	mean, least, most float64
	hearers           []int     // in order
	by                []float64 // which part of the copies each of them gets, 1 in all
	unsure            bool      // other devices than those that were asked may bring more
}

const (
	mostFanned  = 1000      // devices of a group that are asked for it, unless it depends on them whether there is a mistake
	mostAsked   = 1_000_000 // then: which takes seconds
	mostFilters = 2_000_000 // of the run; with more nothing is reckoned
)

// validateAudience holds who is to get messages to what the topics of the run's subscribers say.
func (r *reader) validateAudience(s *Scenario) {
	if r.Problems() > 0 || !s.Target.Can().Topics || s.Target.Can().Twins {
		return
	}
	filters, asked := 0, ""
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		filters += g.Count * len(g.Subscribe.Topics)
		for _, k := range g.Kinds() {
			switch at := fmt.Sprintf("fleet.groups[%d].%s", i, k.path); {
			case asked != "":
			case k.Deliveries != 0:
				asked = at + ".deliveries"
			case k.Properties.ReplyTo != "":
				asked = at + ".mqtt5.reply_to"
			}
		}
	}
	switch {
	case asked == "":
	case filters > mostFilters:
		r.WarnAt(asked, s.Fleet.Groups[0].place, "the run's subscribers have %d topic filters, and with more than %d nobody reckons beforehand who gets a message: "+
			"plans leave out the deliveries of deliveries: all", filters, mostFilters)
	default:
		s.reckonFans()
		r.validateFans(s)
		r.validateHearing(s)
		r.validateResponders(s)
	}
}

// reckonFans finds out how many deliveries messages bring, where they are measured.
func (s *Scenario) reckonFans() {
	index := audience.New(s.subscribers((*Group).Listens))
	s.eachKind(func(g *Group, k *Kind, _ string, first int) {
		if k.Deliveries != 0 {
			k.fan = s.fanOf(index, g, k, first)
		}
	})
}

// eachKind goes through the kinds of all groups' messages, with the path of each and the index of its group's first device in the fleet.
func (s *Scenario) eachKind(do func(g *Group, k *Kind, path string, first int)) {
	first := 0
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		for _, k := range g.Kinds() {
			do(g, &k, fmt.Sprintf("fleet.groups[%d].%s", i, k.path), first)
		}
		first += g.Count
	}
}

// validateFans holds the number of subscribers that are to get messages to what their topics say.
func (r *reader) validateFans(s *Scenario) {
	s.eachKind(func(g *Group, k *Kind, path string, _ int) {
		path += ".deliveries"
		n := float64(k.Deliveries)
		fail := r.FailAt
		if k.fan.unsure {
			fail = r.WarnAt
		}
		switch {
		case k.Deliveries == EverySubscriber && k.fan.most == 0:
			fail(path, g.place, "nobody in this run subscribes to %s; give a group such a topic in subscribe, or remove deliveries", k.TopicOf(&s.Target))
		case k.Deliveries > 0 && k.fan.most < n:
			fail(path, g.place, "%d subscribers are to get each message, but by their topics %g do; write deliveries: all, or other topics", k.Deliveries, k.fan.most)
		case k.Deliveries > 0 && k.fan.least > n:
			r.WarnAt(path, g.place, "by their topics %g subscribers get each message, and %d are waited for: with more than that nobody knows whose is missing; write "+
				"deliveries: all", k.fan.least, k.Deliveries)
		}
		if k.Deliveries > 0 && k.fan.most > n {
			r.validateCopies(s, g, k)
		}
	})
}

// validateCopies finds thresholds on duplicates and order of messages that more subscribers get than are waited for: copies that come when all of
// those have theirs are counted by nobody, and such a threshold would be met whatever the broker does.
func (r *reader) validateCopies(s *Scenario, g *Group, k *Kind) {
	for i := range s.Thresholds {
		t := judged{&s.Thresholds[i], r.thresholds[i].path, r.thresholds[i].at}
		if t.Operation == metrics.OpDelivery && t.OfCopies() && metrics.InGroup(k.Series(g), t.Group) {
			r.FailAt(t.path, t.at, "deliveries of %s is %d, and by the topics %g subscribers get each message: what comes twice or out of order to the others is counted by "+
				"nobody; write deliveries: all", k.Series(g), k.Deliveries, k.fan.most)
		}
	}
}

// validateResponders looks for somebody who answers requests; that may be another program.
func (r *reader) validateResponders(s *Scenario) {
	responds := func(g *Group) bool { return g.Listens() && g.Subscribe.Respond }
	var index *audience.Index // nil as long as nobody asks
	s.eachKind(func(g *Group, k *Kind, path string, first int) {
		if k.Properties.ReplyTo == "" {
			return
		}
		if index == nil {
			index = audience.New(s.subscribers(responds))
		}
		switch path += ".mqtt5.reply_to"; {
		case len(s.groupsThat(responds)) == 0:
			r.WarnAt(path, g.place, "no group of this run responds (subscribe: {respond: true}): unless another program does, no request is answered")
		case s.fanOf(index, g, k, first).most == 0:
			r.WarnAt(path, g.place, "no group of this run that responds subscribes to %s: unless another program does, no request is answered", k.TopicOf(&s.Target))
		}
	})
}

// fanOf is how many deliveries messages of one kind bring, by devices of the group at equal distances: by all of them, if those do not bring what the
// file asks for.
func (s *Scenario) fanOf(index *audience.Index, g *Group, k *Kind, first int) fan {
	x := s.fanBy(index, g, k, first, min(g.Count, mostFanned))
	if g.Count > mostFanned && x.most < float64(max(k.Deliveries, 1)) {
		x = s.fanBy(index, g, k, first, min(g.Count, mostAsked))
		x.unsure = g.Count > mostAsked
	}
	return x
}

// fanBy is fanOf by n devices.
func (s *Scenario) fanBy(index *audience.Index, g *Group, k *Kind, first, n int) fan {
	var x fan
	template := k.TopicOf(&s.Target)
	named := strings.Contains(template, "{device}")
	heard, all := make([]int, len(s.Fleet.Groups)), 0 // copies by group, if none came of a shared subscription
	for j := range n {
		i, id := j*g.Count/n, ""
		if named {
			id = g.DeviceID(i)
		}
		topic := g.Fill(template, id, i)
		copies := float64(index.Fanout(topic, first+i))
		if j == 0 || copies < x.least {
			x.least = copies
		}
		x.most = max(x.most, copies)
		x.mean += copies / float64(n)
		for h := range index.Hearers(topic, first+i) {
			group := s.groupAt(h)
			if heard[group]++; heard[group] == 1 {
				x.hearers = append(x.hearers, group)
			}
			all++
		}
	}
	slices.Sort(x.hearers)
	for _, group := range x.hearers {
		x.by = append(x.by, float64(heard[group])/float64(all))
	}
	return x
}

// groupAt is which group a device of the fleet is in.
func (s *Scenario) groupAt(index int) int {
	i := 0
	for ; i < len(s.Fleet.Groups)-1 && index >= s.Fleet.Groups[i].Count; i++ {
		index -= s.Fleet.Groups[i].Count
	}
	return i
}

// subscribers are all devices of some groups, and what they listen to.
func (s *Scenario) subscribers(of func(*Group) bool) (all []audience.Subscriber) {
	first := 0
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		for n := range g.Count {
			if !of(g) {
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
