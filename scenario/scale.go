package scenario

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// MostDevices bounds a group, and a fleet that is asked for by its number.
const MostDevices = 10_000_000

// MostIndex bounds Group.FirstIndex.
const MostIndex = 1_000_000_000

// Where mistakes of a size that was asked for stand.
const (
	askedDevices  = "--devices"
	askedDuration = "--duration"
)

// rescaled notes that a key now has another value than the file gives it.
func (r *reader) rescaled(path string, value any) {
	r.scaled = append(r.scaled, fmt.Sprintf("%s=%v", path, value))
}

// scaleDevices gives the groups so many devices together, in the proportions of the file.
func (r *reader) scaleDevices(s *Scenario, want int) {
	before, groups := s.Devices(), s.Fleet.Groups
	switch {
	case len(groups) == 0 || r.Overlaps("fleet"):
		return // was said, or will be
	case want < len(groups) || want > MostDevices:
		r.FailAt(askedDevices, problem.Place{},
			"%d devices for %d groups, of which each keeps one at least; use %d to %d", want, len(groups), len(groups), MostDevices)
		return
	}
	r.finishNumbers(s)
	ways := stageWays(s)
	counts := make([]int, len(groups))
	for i := range groups {
		counts[i] = groups[i].Count
	}
	was, ends := make([]int, len(r.numbers)), make([]int, len(s.Stages))
	for i := range ends {
		ends[i] = s.left(i, "")
	}
	for i := range r.numbers {
		was[i] = r.numbers[i].of(s)
	}
	for i, n := range apportion(counts, want) {
		g := &groups[i]
		if file, listed := g.Identity.listed(); file != "" && n > listed && !(r.handed && file == g.Identity.Credentials) {
			r.FailAt(askedDevices, problem.Place{},
				"group %s would have %d devices, but %s has %d; ask for fewer, or put more into the file", g.Name, n, file, listed)
			continue
		}
		if g.Count != n {
			g.Count = n
			r.rescaled(fmt.Sprintf("fleet.groups[%d].count", i), n)
		}
	}
	for i := range r.numbers {
		if x := &r.numbers[i]; x.path != "" && x.share < 0 && *x.into > 0 && was[i] > 0 {
			x.was = *x.into
			n := int(math.Round(float64(*x.into) / float64(was[i]) * float64(x.of(s))))
			*x.into = max(1, n)
			r.rescaled(x.path, *x.into)
		}
	}
	r.finishNumbers(s)
	r.scaleAwaits(s, ends)
	for i, way := range stageWays(s) {
		factor := float64(want) / float64(before)
		if way > 0 && ways[i] > 0 {
			factor = way / ways[i]
		}
		r.scaleRate(askedDevices, i, &s.Stages[i], factor)
	}
	s.Scaled = append(s.Scaled, fmt.Sprintf("%s %d: the fleet has %d devices instead of %d, and the numbers of its groups and stages follow",
		askedDevices, want, want, before))
	if rates := fleetRates(s); len(rates) > 0 {
		s.Scaled = append(s.Scaled, fmt.Sprintf("%s %d: rates of the whole fleet stay as they are: %s", askedDevices, want, strings.Join(rates, ", ")))
	}
}

// fleetRates names the rates that stages ask of the whole fleet, whatever its size.
func fleetRates(s *Scenario) (all []string) {
	for i := range s.Stages {
		t := &s.Stages[i]
		if t.ReportRate != nil {
			all = append(all, "report_rate of "+t.Name)
		}
		if t.TelemetryRate != nil {
			all = append(all, "telemetry_rate of "+t.Name)
		}
	}
	return all
}

// scaleAwaits holds the numbers that steps wait for to those of their stages, of which each was rounded for itself: ends has
// how many devices there were at the ends of the stages before.
func (r *reader) scaleAwaits(s *Scenario, ends []int) {
	for i := range s.Stages {
		for k := range s.Stages[i].Steps {
			x := s.Stages[i].Steps[k].Await
			if x == nil {
				continue
			}
			for name, n := range map[string]*int{"connected": &x.Connected, "reported": &x.Reported} {
				path, end := fmt.Sprintf("stages[%d].steps[%d].await.%s", i, k, name), s.left(i, "")
				at := slices.IndexFunc(r.numbers, func(x number) bool { return x.into == n })
				if at < 0 || r.numbers[at].share >= 0 || end < 0 || *n <= 0 {
					continue
				}
				if was := r.numbers[at].was; was == ends[i] || was < ends[i] && *n > end {
					*n = end
					r.rescaled(path, *n)
				}
			}
		}
	}
}

// stageWays are how many devices come or go in the stages.
func stageWays(s *Scenario) []float64 {
	ways, active := make([]float64, len(s.Stages)), 0
	for i := range s.Stages {
		if n := s.Stages[i].Devices; n >= 0 {
			ways[i], active = math.Abs(float64(n-active)), n
		}
	}
	return ways
}

// scaleRate makes the devices of a stage come or go faster, or slower, for a size that was asked for.
func (r *reader) scaleRate(asked string, stage int, t *Stage, factor float64) {
	c := t.ConnectRate
	if c == nil || factor == 1 {
		return
	}
	t.ConnectRate = c.Scaled(factor)
	if fastest := t.ConnectRate.Peak(); fastest > maxRate {
		r.FailAt(asked, problem.Place{},
			"the devices of stage %s would come or go at %.0f/s, which is more than one process can start; make it longer, or the fleet smaller", t.Name, fastest)
	}
	r.rescaled(fmt.Sprintf("stages[%d].connect_rate", stage), t.ConnectRate)
}

// apportion splits a number in the proportions of others, by the largest remainders; each gets one at least.
func apportion(counts []int, want int) []int {
	whole := 0
	for _, n := range counts {
		whole += n
	}
	parts, order, left := make([]int, len(counts)), make([]int, len(counts)), want
	rest := make([]int64, len(counts))
	for i, n := range counts {
		product := int64(n) * int64(want)
		parts[i], rest[i], order[i] = int(product/int64(whole)), product%int64(whole), i
		left -= parts[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rest[b], rest[a]) })
	for _, i := range order[:left] {
		parts[i]++
	}
	for i := range parts {
		if parts[i] == 0 {
			largest := slices.Index(parts, slices.Max(parts))
			parts[largest]--
			parts[i]++
		}
	}
	return parts
}

// scaleDuration makes the stages last so long together, in the proportions of the file. A stage that lasts as long as its
// connect_rate takes gets another rate; what is told in times after the start of a stage, or of how long a fault lasts,
// follows its stage. A stage that ends with its last step takes what that takes, and is left out.
func (r *reader) scaleDuration(s *Scenario, want time.Duration) {
	lengths := stageLengths(s)
	var before time.Duration
	for _, d := range lengths {
		before += d
	}
	switch {
	case r.Overlaps("stages"):
		return // was said
	case before == 0:
		r.FailAt(askedDuration, problem.Place{}, "no stage says how long it lasts, so that there is nothing to make longer or shorter; remove %s", askedDuration)
		return
	case want < time.Duration(len(lengths))*timing.Shortest || want > timing.Longest:
		r.FailAt(askedDuration, problem.Place{}, "%s for %d stages; use %s to %s", want, len(lengths), time.Duration(len(lengths))*timing.Shortest, timing.Longest)
		return
	}
	factor := float64(want) / float64(before)
	var at time.Duration // of the stages so far, as the file has them
	for i := range s.Stages {
		if lengths[i] == 0 {
			continue
		}
		from := scaledTime(at, factor)
		at += lengths[i]
		r.scaleStage(i, &s.Stages[i], lengths[i], max(timing.Shortest, scaledTime(at, factor)-from))
	}
	for i := range s.Service.Rollouts {
		x, path := &s.Service.Rollouts[i], fmt.Sprintf("service.rollouts[%d]", i)
		r.scaleTime(path+".at", &x.At, factor)
		for j := range x.Waves {
			r.scaleTime(fmt.Sprintf("%s.waves[%d].for", path, j), &x.Waves[j].For, factor)
		}
	}
	for i := range s.Service.Jobs {
		r.scaleTime(fmt.Sprintf("service.jobs[%d].at", i), &s.Service.Jobs[i].At, factor)
	}
	s.Scaled = append(s.Scaled, fmt.Sprintf("%s %s: the stages last %s together instead of %s, and the times in them follow",
		askedDuration, timing.Text(want), timing.Text(want), timing.Text(before.Round(timing.Shortest))))
}

// stageLengths are how long the stages last, as far as they say; 0 for those that end with their last step.
func stageLengths(s *Scenario) []time.Duration {
	lengths := make([]time.Duration, len(s.Stages))
	for i, way := range stageWays(s) {
		t := &s.Stages[i]
		lengths[i] = t.Duration
		if c := t.ConnectRate; c != nil && c.To > 0 && t.Duration == 0 {
			lengths[i] = time.Duration(way / c.To * float64(time.Second))
		}
	}
	return lengths
}

// scaleStage makes a stage of one length have another.
func (r *reader) scaleStage(i int, t *Stage, from, to time.Duration) {
	path, factor := fmt.Sprintf("stages[%d]", i), float64(to)/float64(from)
	for key, x := range map[string]*Range{".connect_rate": t.ConnectRate, ".report_rate": t.ReportRate, ".telemetry_rate": t.TelemetryRate} {
		if x != nil {
			r.scaleShape(path+key, x.Shape, factor, from, to)
		}
	}
	r.scaleShape(path+".devices", t.Course, factor, from, to)
	r.scaleRate(askedDuration, i, t, 1/factor)
	if t.Duration > 0 {
		t.Duration = to
		r.rescaled(path+".duration", to)
	}
	if t.Storm != nil {
		r.scaleTime(path+".storm.within", &t.Storm.Within, factor)
	}
	if h := t.Hub; h != nil {
		r.scaleTime(path+".hub.refuse", &h.Refuse, factor)
		r.scaleTime(path+".hub.stall", &h.Stall, factor)
		r.scaleTime(path+".hub.restart", &h.Restart, factor)
	}
	if w := t.Network; w != nil {
		longest := to
		r.scaleWithin(path+".network.for", &w.For, factor, from, longest)
		if w.For > 0 {
			longest = w.For
		}
		if w.Partition != nil {
			r.scaleWithin(path+".network.partition.for", &w.Partition.For, factor, from, longest)
		}
	}
}

// scaleWithin is scaleTime for what lasts no longer than something else: rounding does not change that.
func (r *reader) scaleWithin(path string, d *time.Duration, factor float64, before, longest time.Duration) {
	if *d > 0 && *d <= before {
		*d = min(max(timing.Shortest, scaledTime(*d, factor)), longest)
		r.rescaled(path, *d)
		return
	}
	r.scaleTime(path, d, factor)
}

// scaleTime makes a time longer or shorter; none stays none.
func (r *reader) scaleTime(path string, d *time.Duration, factor float64) {
	if *d > 0 {
		*d = max(timing.Shortest, scaledTime(*d, factor))
		r.rescaled(path, *d)
	}
}

// scaledTime is a time by a factor, in whole milliseconds.
func scaledTime(d time.Duration, factor float64) time.Duration {
	return time.Duration(math.Round(float64(d)*factor/float64(timing.Shortest))) * timing.Shortest
}
