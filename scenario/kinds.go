package scenario

import (
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule"
)

// Message is a kind of messages that devices of a plain broker send beside Group.Telemetry, on a schedule of its own.
type Message struct {
	Name      string // of the kind; differs from those of other kinds of the group
	Telemetry        // what is sent, and when
	place     problem.Place
}

// Kind is one kind of the messages that a group's devices send.
type Kind struct {
	Name       string // empty for Group.Telemetry
	*Telemetry        // of the group
	path       string // of its keys, in the group
}

// Kinds are the kinds of messages that a group's devices send: its telemetry, which may be none, and the kinds with names, in their order.
func (g *Group) Kinds() []Kind {
	all := make([]Kind, 1, 1+len(g.Messages))
	all[0] = Kind{"", &g.Telemetry, "telemetry"}
	for i := range g.Messages {
		all = append(all, Kind{g.Messages[i].Name, &g.Messages[i].Telemetry, language.At("messages", i)})
	}
	return all
}

// Series is what metrics call messages of the kind, of a group: as the group, or as sensors/alarms.
func (k *Kind) Series(g *Group) string { return metrics.KindOf(g.Name, k.Name) }

// MostSeries is how many groups, each kind of messages with a name as one, metrics tell apart; further ones count together.
const MostSeries = 1000

// Series is how many groups, or names of what the service side does, metrics have to tell apart, MostSeries at the most.
func (s *Scenario) Series() int {
	return min(max(s.series(), len(s.queryNames()), len(s.Service.Methods), len(s.Service.Jobs)), MostSeries)
}

// series is how many groups there are, each kind of messages with a name as one.
func (s *Scenario) series() (n int) {
	for i := range s.Fleet.Groups {
		n += 1 + len(s.Fleet.Groups[i].Messages)
	}
	return n
}

// Path is where the kind's keys stand in those of its group: telemetry, or messages[0].
func (k *Kind) Path() string { return k.path }

// Rhythms are when messages of the kind are due on the devices' own schedules, by the index of the device; it is for kinds with an interval.
func (k *Kind) Rhythms(c schedule.Calendar) func(index int) schedule.Rhythm {
	if k.Name == "" {
		return func(index int) schedule.Rhythm { return c.Messages(index, k.Every, k.Gaps, k.Sync) }
	}
	return c.Activity("messages "+k.Name, k.Every, k.Gaps, k.Sync)
}

// Measured reports whether the group measures deliveries of messages of some kind.
func (g *Group) Measured() bool {
	for _, k := range g.Kinds() {
		if k.Deliveries != 0 {
			return true
		}
	}
	return false
}

// Listens reports whether the group's devices subscribe to something that the scenario names.
func (g *Group) Listens() bool { return len(g.Subscribe.Topics) > 0 }

// Requests reports whether some kind of the group's messages wants responses.
func (g *Group) Requests() bool {
	for _, k := range g.Kinds() {
		if k.Properties.ReplyTo != "" {
			return true
		}
	}
	return false
}

func messageKinds(g *Group) language.Value {
	keys := func(m *Message) []language.Key {
		return append([]language.Key{
			key("name", value.Name(&m.Name).Required(), none, "The kind's name: metrics have its messages as group/name."),
			key("every", timing.Gaps(&m.Every, &m.Gaps).Required(), none,
				"How often a device sends such a message: 15s; 10s..20s, after gaps between the two; ~15s, at random and independently, after exponential gaps with that mean."),
		}, sendingKeys(&m.Telemetry)...)
	}
	fresh := func() Message { return Message{Telemetry: Telemetry{Present: true}} }
	return value.List(&g.Messages, fresh, keys, func(m *Message, p problem.Place) { m.place = p })
}
