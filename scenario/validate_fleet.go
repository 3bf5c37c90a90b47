package scenario

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule"
)

// validateShape holds what a stage says of the number of devices and of pauses. before is how many
// devices there are when it begins.
func (r *reader) validateShape(path string, t *Stage, before int) {
	if t.Paused && (t.ReportRate != nil || t.TelemetryRate != nil) {
		r.FailAt(path+".paused", t.place, "a paused stage starts nothing; remove its rates, or paused")
	}
	if t.Paused && t.Duration == 0 && len(t.Steps) == 0 {
		r.FailAt(path+".paused", t.place, "a pause needs a duration or steps")
	}
	c := t.ConnectRate
	if c == nil {
		return
	}
	path += ".connect_rate"
	switch {
	case t.goals != nil:
		r.FailAt(path, t.place, "devices by group come and go evenly over the stage; remove connect_rate, or write one number of devices")
	case t.Course != nil:
		r.FailAt(path, t.place, "points and a sine say when devices come and go; remove connect_rate, or write one number of devices")
	case t.Devices < 0:
		r.FailAt(path, t.place, "a connect_rate needs devices: how many to go to")
	case c.Peak() == 0:
		r.FailAt(path, t.place, "a rate of 0 reaches nothing")
	case !c.Constant() && t.Duration == 0:
		r.FailAt(path, t.place, "a rate that changes needs a duration")
	case t.Duration > 0:
		way := math.Abs(float64(t.Devices - before))
		reach := t.ConnectCurve(before).Integral(t.Duration)
		if reach < way-1e-6 && t.slowed {
			r.FailAt(strings.TrimSuffix(path, ".connect_rate")+".duration", t.place,
				"only %.0f of %.0f devices come in %s at the %.0f/s that Azure's provisioning service takes; make the stage longer, or give it a connect_rate",
				reach, way, t.Duration, registrationRate)
		} else if reach < way-1e-6 {
			r.FailAt(path, t.place, "only %.0f of %.0f devices come or go in %s; make the rate higher or the stage longer", reach, way, t.Duration)
		}
	}
}

// validateTopic holds a topic, or a filter, to MQTT and to the names that are replaced.
func (r *reader) validateTopic(path string, at problem.Place, template string, filter bool) {
	for _, mistake := range topic.Mistakes(template, filter) {
		r.FailAt(path, at, "%s", mistake)
	}
}

// Fill replaces {device}, {group} and {index} in a template by the id, the group and the number of the group's i-th device, counted from 0:
// the number is that of Index, as in device ids.
func (g *Group) Fill(template, id string, i int) string {
	if !strings.Contains(template, "{") {
		return template
	}
	return topic.FillWith(template, id, g.Name, g.Index(i))
}

// sendsTelemetry reports whether a group takes its turn when a stage asks for a rate of messages: those with
// telemetry do, and when there are none, all that do not listen instead.
func (s *Scenario) sendsTelemetry(g *Group) bool {
	for i := range s.Fleet.Groups {
		if s.Fleet.Groups[i].Telemetry.Present {
			return g.Telemetry.Present
		}
	}
	return !g.Listens() && len(g.Messages) == 0
}

// Rated is the names of the groups that take their turns when a stage asks for a rate: of reports, or of
// messages.
func (s *Scenario) Rated(reports bool) (groups []string) {
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		if (reports && len(g.Report.Types) > 0) || (!reports && s.sendsTelemetry(g)) {
			groups = append(groups, g.Name)
		}
	}
	return groups
}

// validateRates holds rates to groups that can keep them.
func (r *reader) validateRates(path string, t *Stage, s *Scenario) {
	if t.ReportRate != nil && s.Target.Can().Twins && len(s.Rated(true)) == 0 {
		r.FailAt(path+".report_rate", t.place, "no group reports; write reported: {connectivity: {type: cellular}}")
	}
	if t.TelemetryRate != nil && len(s.Rated(false)) == 0 {
		r.FailAt(path+".telemetry_rate", t.place, "no group sends messages; give one telemetry")
	}
}

// validatePace holds what all devices of a group do together to what one process can start.
func (r *reader) validatePace(path string, g *Group, every time.Duration) {
	if every > 0 && float64(g.Count)/every.Seconds() > maxRate {
		r.FailAt(path, g.place, "%d devices are more than %.0f/s together, which is more than one process can start; make it rarer", g.Count, maxRate)
	}
}

// validateGoals holds the numbers of devices of a stage to those that there are.
func (r *reader) validateGoals(path string, t *Stage, s *Scenario) {
	path += ".devices"
	if t.goals != nil && t.ByGroup == nil {
		r.FailAt(path, t.place, "devices by group need a fleet of %d at most", MostDevices)
	}
	for _, x := range t.goals {
		if g := s.Group(x.group); g != nil && x.n > g.Count && !r.Overlaps("fleet") {
			r.FailAt(language.Join(path, x.group), x.at, "%d devices, but the group has %d; write 100%% for all of them", x.n, g.Count)
		}
	}
	if t.goals == nil && t.Course == nil && t.Devices > s.Devices() && !r.Overlaps("fleet") {
		r.FailAt(path, t.place, "%d devices, but the groups have %d in all; write 100%% for all of them", t.Devices, s.Devices())
	}
}

// ConnectCurve is the rate, per second, at which devices come or go in a stage that begins with a
// number of devices. It is empty without a connect_rate.
func (t *Stage) ConnectCurve(before int) schedule.Curve {
	c := t.ConnectRate
	if c == nil || t.Devices < 0 {
		return nil
	}
	d := t.Duration
	if d == 0 {
		way := math.Abs(float64(t.Devices - before))
		d = time.Duration(math.Ceil(way/c.To*float64(time.Second))) + time.Millisecond // the last one must not be lost to rounding
	}
	return c.Over(d)
}

// validateStorm holds a storm to groups that there are.
// before are the devices of each group when the stage begins; nil when that is not known.
func (r *reader) validateStorm(path string, t *Stage, s *Scenario, before []int) {
	if t.Storm == nil {
		return
	}
	for i, name := range t.Storm.Groups {
		r.groupNames = append(r.groupNames, reference{fmt.Sprintf("%s.groups[%d]", path, i), name, t.place})
	}
	if !r.Given(path + ".drop") {
		r.FailAt(path, t.place, "which share of the connections is cut is missing; write drop: 80%%")
		return
	}
	if before == nil || t.Storm.Drop == 0 {
		return
	}
	for i, n := range before {
		if n > 0 && t.Storm.Hits(s.Fleet.Groups[i].Name) {
			return
		}
	}
	r.FailAt(path+".groups", t.place, "no device%s is there when the stage begins, so that the storm hits nobody; put it into a later stage", t.Storm.Whose())
}

// Hits reports whether the storm may cut devices of a group.
func (x *Storm) Hits(group string) bool {
	return len(x.Groups) == 0 || slices.Contains(x.Groups, group)
}

// Whose says whose connections are cut, when not all: " of robots".
func (x *Storm) Whose() string {
	if len(x.Groups) == 0 {
		return ""
	}
	return " of " + strings.Join(x.Groups, ", ")
}

// validateNetwork holds what a stage says of the network.
func (r *reader) validateNetwork(path string, t *Stage) {
	w := t.Network
	if w == nil {
		return
	}
	path += ".network"
	for i, name := range w.Groups {
		r.groupNames = append(r.groupNames, reference{fmt.Sprintf("%s.groups[%d]", path, i), name, t.place})
	}
	if w.Latency+w.Jitter == 0 && w.Loss+w.HalfOpen+w.Bandwidth == 0 && w.Partition == nil {
		r.FailAt(path, t.place, "nothing is wrong with this network; give it latency, jitter, loss, bandwidth, half_open or a partition")
	}
	longest := t.Duration
	if longest > 0 && w.For > longest {
		r.FailAt(path+".for", t.place, "%s is longer than the stage (%s)", w.For, longest)
	}
	if w.For > 0 {
		longest = w.For
	}
	if p := w.Partition; p != nil {
		if p.Share == 0 {
			r.FailAt(path+".partition", t.place, "a partition needs a share, as in {share: 30%%, for: 20s}")
		}
		if longest > 0 && p.For > longest {
			r.FailAt(path+".partition.for", t.place, "%s is longer than the network is bad (%s)", p.For, longest)
		}
	}
}
