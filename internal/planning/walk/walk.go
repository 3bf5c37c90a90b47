// Package walk follows every device of a scenario through its stages and counts what becomes due.
package walk

import (
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// Cause is why a device connects.
type Cause int

// The causes.
const (
	Arrives  Cause = iota // a stage adds it
	ComesOn               // its time offline is over
	Renews                // its token ends
	Recovers              // a storm cut its connection
	Causes                // how many there are
)

// Tally is what becomes due in one stage in one group.
type Tally struct {
	Connects [Causes]float64 // by their cause
	Firsts   float64         // of those who arrive: that never were there before
	Reports  float64         // on the devices' own schedules
	Messages []float64       // likewise, by kind, as scenario.Group.Kinds has them
	Renewals float64         // of tokens, on the connections that there are
}

// Walk follows every device through the stages, by the calendar that the run goes by, and counts what becomes
// due: in a run whose target answers at once and loses nothing, exactly so much is.
type Walk struct {
	sc       *scenario.Scenario
	spans    []span.Span
	calendar schedule.Calendar
	groups   []int // of a device, by its index
	tallies  []Tally
	cuts     map[int][]cut // by place
	devices  []walker
	left     int   // connections that may still be followed
	draws    int64 // random gaps that may still be drawn
}

// walker is what a device did so far.
type walker struct{ sessions, renewals int64 }

// start is when a device becomes active, and in which stage.
type start struct {
	at    time.Duration
	stage int
}

// cut is a connection that is to end at a time if it is there when the storm begins.
type cut struct{ begin, at time.Duration }

// What bounds the walk, to a second or so.
const (
	mostConnections = 2_000_000
	mostDraws       = 20_000_000
)

// cursors are how far a device went through what it does on its own.
type cursors struct {
	reports  schedule.Cursor
	messages []schedule.Cursor // by kind
}

// Of walks through a scenario; nil when that would take too long.
func Of(sc *scenario.Scenario, spans []span.Span) *Walk {
	w := &Walk{
		sc: sc, spans: spans, calendar: schedule.NewCalendar(sc.Seed), left: mostConnections, draws: mostDraws,
		tallies: make([]Tally, len(spans)*len(sc.Fleet.Groups)), cuts: make(map[int][]cut),
	}
	for i := range sc.Fleet.Groups {
		w.groups = append(w.groups, slices.Repeat([]int{i}, sc.Fleet.Groups[i].Count)...)
	}
	for i := range w.tallies {
		w.tallies[i].Messages = make([]float64, 1+len(sc.Fleet.Groups[i%len(sc.Fleet.Groups)].Messages))
	}
	w.devices = make([]walker, len(w.groups))
	order, roster := sc.Roster()
	places := make([]int, len(order))
	for place, index := range order {
		places[index] = place
	}
	since, known := make([]start, len(order)), make([]bool, len(order))
	for k := range spans {
		s := &spans[k]
		if s.Storm != nil {
			there := func(index int) bool { return roster.IsActive(places[index]) }
			hits := func(place int) bool {
				index := order[place]
				first, last := w.sharers(index)
				if first != index || !s.Storm.Hits(sc.Fleet.Groups[w.groups[index]].Name) {
					return false
				}
				for ; first < last; first++ {
					if there(first) {
						return true
					}
				}
				return false
			}
			for _, x := range w.calendar.Storm(k, len(order), hits, s.Storm.Drop, s.Storm.Within) {
				for first, last := w.sharers(order[x.Place]); first < last; first++ {
					w.cuts[places[first]] = append(w.cuts[places[first]], cut{s.At, s.At + x.After})
				}
			}
		}
		for m := range s.Moves(roster) {
			if w.left < 0 || w.draws < 0 {
				return nil // a course may go up and down more often than anybody waits for
			}
			place, ok := roster.Move(m.Group, m.Up)
			switch {
			case !ok:
			case m.Up:
				since[place] = start{s.At + m.At, k}
				if !known[place] {
					known[place] = true
					w.At(k, w.groups[order[place]]).Firsts++
				}
			default:
				w.live(order[place], w.cuts[place], since[place], s.At+m.At)
			}
		}
	}
	for place, index := range order {
		if roster.IsActive(place) {
			w.live(index, w.cuts[place], since[place], span.EndOf(spans))
		}
	}
	if w.left < 0 || w.draws < 0 {
		return nil
	}
	return w
}

// sharers are the indexes of the devices on the connection of one: from the first to before the last.
func (w *Walk) sharers(index int) (first, last int) {
	begin := 0
	for i := range w.groups[index] {
		begin += w.sc.Fleet.Groups[i].Count
	}
	first, last = w.sc.Fleet.Groups[w.groups[index]].Sharers(index - begin)
	return begin + first, begin + last
}

// live follows a device from its start to its stop.
func (w *Walk) live(index int, cuts []cut, from start, to time.Duration) {
	g, d := &w.sc.Fleet.Groups[w.groups[index]], &w.devices[index]
	churn, backoff := schedule.Churn{Online: g.Online, Offline: g.Offline}, backoffOf(g)
	at, stage, why, counted := from.at, from.stage, Arrives, from.at
	var ends, offline time.Duration // of the session, which begins with the next connection when ends is below 0
	ends = -1
	var done cursors // from the run's start: each life of a device goes through it anew
	defer func() {
		w.draws -= done.reports.Turns()
		for i := range done.messages {
			w.draws -= done.messages[i].Turns()
		}
	}()
	for w.left--; w.left >= 0 && w.draws >= 0; w.left-- {
		w.At(stage, w.groups[index]).Connects[why]++
		end, next := to, Causes
		if !g.Online.IsZero() {
			if ends < 0 {
				var online time.Duration
				online, offline = w.calendar.Session(churn, index, d.sessions)
				ends = at + online
			}
			if ends < end {
				end, next = max(ends, at), ComesOn
			}
		}
		if t := g.Tokens; g.Reconnects() {
			renewal := at + w.calendar.Renewal(index, d.renewals, t.Life, t.Margin, t.Spread)
			d.renewals++
			if renewal < end {
				end, next = max(renewal, at), Renews
			}
		}
		used := -1
		for i, x := range cuts {
			if at <= x.begin && x.begin < end && x.at < end {
				end, next, used = x.at, Recovers, i
			}
		}
		if g.Renews() {
			w.renew(index, g, at, end)
		}
		cuts = cuts[used+1:]
		stage, why = -1, next
		switch next {
		case ComesOn:
			w.due(index, g, &done, counted, end)
			at = max(end, ends+offline) // it may have been without a connection when the session was to end
			counted, ends = at, -1
			d.sessions++
		case Renews:
			at = end
		case Recovers:
			at = end + backoff // what is due until then is dropped, and counted
		default:
			w.due(index, g, &done, counted, to)
			return
		}
		if at >= to {
			if next == Recovers {
				w.due(index, g, &done, counted, to)
			}
			return
		}
		stage = w.stageAt(at)
	}
}

// renew counts the tokens that a device renews on a connection, without ending it.
func (w *Walk) renew(index int, g *scenario.Group, from, to time.Duration) {
	t, d := g.Tokens, &w.devices[index]
	for at := from; w.left >= 0; w.left-- {
		at = max(at, at+w.calendar.Renewal(index, d.renewals, t.Life, t.Margin, t.Spread))
		d.renewals++
		if at >= to {
			return
		}
		w.At(w.stageAt(at), w.groups[index]).Renewals++
	}
}

// due counts what a device does on its own schedules.
func (w *Walk) due(index int, g *scenario.Group, done *cursors, from, to time.Duration) {
	var reports schedule.Rhythm
	if Reporting(w.sc, g) && g.Report.Every > 0 {
		reports = w.calendar.Reports(index, g.Report.Every, g.Report.Gaps, g.Report.Sync)
	}
	kinds := g.Kinds()
	messages, some := make([]schedule.Rhythm, len(kinds)), !reports.IsZero()
	for i, k := range kinds {
		if k.Every > 0 {
			messages[i], some = k.Rhythms(w.calendar)(index), true
		}
	}
	if !some {
		return
	}
	if done.messages == nil {
		done.messages = make([]schedule.Cursor, len(kinds))
	}
	for k := w.stageAt(from); k < len(w.spans) && w.spans[k].At < to; k++ {
		a, b := max(from, w.spans[k].At), min(to, w.spans[k].End())
		if b <= a {
			continue
		}
		t := w.At(k, w.groups[index])
		if !reports.IsZero() {
			t.Reports += float64(reports.Count(&done.reports, a, b))
		}
		for i, m := range messages {
			if !m.IsZero() {
				t.Messages[i] += float64(m.Count(&done.messages[i], a, b))
			}
		}
	}
}

// At is the tally of a stage and a group.
func (w *Walk) At(stage, group int) *Tally { return &w.tallies[stage*len(w.sc.Fleet.Groups)+group] }

// stageAt is the stage that runs at a time.
func (w *Walk) stageAt(at time.Duration) int {
	for k := range w.spans {
		if at < w.spans[k].End() {
			return k
		}
	}
	return len(w.spans) - 1
}

// backoffOf is how long a device waits after its connection was cut: a first wait has no chance in it.
func backoffOf(g *scenario.Group) time.Duration {
	b, _ := g.Backoffs()
	return b.Delay(0, 0)
}

// Reporting tells whether a group's devices report on their own.
func Reporting(sc *scenario.Scenario, g *scenario.Group) bool {
	return sc.Target.Can().Twins && len(g.Report.Types) > 0
}
