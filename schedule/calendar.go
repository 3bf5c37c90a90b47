package schedule

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Calendar is when the devices of a fleet act, as far as chance decides it: pure functions of the fleet's seed
// and of a device's index. Who plans a run and who runs it ask the same one.
type Calendar struct {
	seed              uint64
	session, renewal  chance.Stream
	reports, messages chance.Stream // of random gaps
}

// NewCalendar makes the calendar of a seed.
func NewCalendar(seed uint64) Calendar {
	stream := func(name string) chance.Stream { return chance.NewStream(seed, name) }
	return Calendar{seed, stream("session"), stream("renewal"), stream("reports"), stream("messages")}
}

// Order is the indexes of devices in the order in which they start: those of a lower rank first, at random
// among those of one. ranks has one for each index.
func (c Calendar) Order(ranks []int) []int {
	order := chance.Rand(c.seed, "order", 0).Perm(len(ranks))
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ranks[a], ranks[b]) })
	return order
}

// Reports is when a device reports on its own: at its own phase of the period, or in step with all others; after gaps of
// its own instead, or of all others, when gaps is not zero.
func (c Calendar) Reports(index int, period time.Duration, gaps chance.Distribution, sync bool) Rhythm {
	return rhythm(c.reports, c.seed, index, period, gaps, sync)
}

// Messages is when a device sends a message on its own: as Reports says of reports.
func (c Calendar) Messages(index int, period time.Duration, gaps chance.Distribution, sync bool) Rhythm {
	return rhythm(c.messages, c.seed+1, index, period, gaps, sync)
}

// Activity is when each device, by its index, does something else on its own, by its name: as Reports says of reports.
func (c Calendar) Activity(name string, period time.Duration, gaps chance.Distribution, sync bool) func(index int) Rhythm {
	stream := chance.NewStream(c.seed, "activity gaps "+name)
	return func(index int) Rhythm { return rhythm(stream, stream.Key(), index, period, gaps, sync) }
}

// everybody stands for the index of all devices, which have their gaps in common.
const everybody = -1

func rhythm(stream chance.Stream, seed uint64, index int, period time.Duration, gaps chance.Distribution, sync bool) Rhythm {
	switch {
	case gaps.IsZero():
		return Rhythm{every: every(seed, index, period, sync)}
	case sync:
		index = everybody
	}
	return Rhythm{gaps: gaps, stream: stream, index: index}
}

func every(seed uint64, index int, period time.Duration, sync bool) Every {
	e := Every{Period: period}
	if !sync {
		e.Phase = Spread(seed, index, period)
	}
	return e
}

// Session is how long the n-th stay of a device is, counted from 0, and its absence after it.
func (c Calendar) Session(churn Churn, index int, n int64) (online, offline time.Duration) {
	return churn.Session(c.session, index, n)
}

// Renewal is how long after the n-th connection of a device, counted from 0, its token is renewed: a margin
// before the end of its life, and earlier by up to a spread.
func (c Calendar) Renewal(index int, n int64, life, margin, spread time.Duration) time.Duration {
	return life - margin - time.Duration(c.renewal.Unit(index, n)*float64(spread))
}

// Cut is a connection that a storm cuts.
type Cut struct {
	Place int           // in the order in which devices start
	After time.Duration // since the storm began
}

// Storm is the cuts of a round: of a share of the devices that may be hit, each at a random time within a span.
// Places are counted from 0, up to places; hits says whether the device at one may be hit, and nil allows all.
func (c Calendar) Storm(round, places int, hits func(place int) bool, share float64, within time.Duration) []Cut {
	var among []int
	for place := range places {
		if hits == nil || hits(place) {
			among = append(among, place)
		}
	}
	draws := chance.Rand(c.seed, "storm", round)
	victims := draws.Perm(len(among))[:int(math.Round(share*float64(len(among))))]
	cuts := make([]Cut, len(victims))
	for i, victim := range victims {
		cuts[i] = Cut{among[victim], time.Duration(draws.Float64() * float64(within))}
	}
	return cuts
}
