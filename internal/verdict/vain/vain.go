// Package vain finds what a run did for nothing: devices that never connected or were gone at the end, operations that never
// succeeded or were never due. A run in which nothing worked is not a pass, with or without thresholds.
package vain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/reason"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// Evidence is what is known of a run.
type Evidence struct {
	Scenario *scenario.Scenario // that was run
	Run      *report.Run        // whole, with the verdicts of the scenario's thresholds in their order
}

// byHand reports whether somebody ended a stage before its time, or had other devices in it: then what was to come in it is no loss.
func (e *Evidence) byHand() bool {
	return len(e.Run.Interventions.Ended()) > 0 || e.Run.Interventions.Changed()
}

// Nobody says why no device ever connected, or was due to, although stages have devices; "" when one connected.
func (e *Evidence) Nobody() string {
	all := e.Run.Totals.Select(metrics.OpConnect, "")
	if all == nil || due(all) == 0 {
		if slices.ContainsFunc(e.Run.Provisioned, func(p report.Provisioned) bool { return p.Devices > 0 }) { // they were due to be assigned first
			return strings.Join(e.Unprovisioned(), "; ")
		}
		for i := range e.Scenario.Stages {
			if t := &e.Scenario.Stages[i]; t.MostDevices(0) > 0 && !e.byHand() { // who ends stages by hand may be before the first device
				return fmt.Sprintf("no device was ever due to connect, although stage %s has %s", t.Name, human.Number(t.MostDevices(0), "device"))
			}
		}
		if !e.byHand() && !slices.ContainsFunc(e.Run.Totals.Series, asked) {
			return "nothing was asked of the target: no stage has devices, and the service side has nothing to do"
		}
		return ""
	}
	if all.Count(metrics.OK) > 0 || e.wantsFailure(all) {
		return ""
	}
	return "no device ever connected: " + why(all)
}

// asked reports whether operations that a scenario asks for were due; the run makes identities and counts them by itself.
func asked(x metrics.SeriesSnapshot) bool {
	return x.Operation != metrics.OpProvision && x.Operation != metrics.OpStatistics && due(&x) > 0
}

// Kinds says which kinds of operations never succeeded, of those that were due, and why.
func (e *Evidence) Kinds() []string {
	var texts []string
	for i := range e.Run.Totals.Series {
		x := &e.Run.Totals.Series[i]
		switch {
		case x.Operation == metrics.OpProvision, x.Operation == metrics.OpStatistics: // the run itself acts on these
		case x.Operation == metrics.OpRecovery: // nobody asked for it
		case x.Operation.OfDPS(): // Unprovisioned has more to say
		case due(x) == 0, x.Count(metrics.OK) > 0, e.wantsFailure(x), x.Operation == metrics.OpJob && e.jobDidSome(x.Group):
		case x.Operation == metrics.OpConnect:
			texts = append(texts, fmt.Sprintf("no device of %s ever connected: %s", x.Group, why(x)))
		default:
			texts = append(texts, fmt.Sprintf("%s never succeeded: %s", kind(x.Operation, x.Group), why(x)))
		}
	}
	return texts
}

// Failing says of a run that goes on which kinds of operations have failed, and never succeeded so far.
func (e *Evidence) Failing() []string {
	failed := *e.Run.Totals
	failed.Series = slices.DeleteFunc(slices.Clone(failed.Series), func(x metrics.SeriesSnapshot) bool {
		return x.Errors()+x.Count(metrics.Throttled) == 0
	})
	run := *e.Run
	run.Totals = &failed
	sofar := *e
	sofar.Run = &run
	return sofar.Kinds()
}

// Gone says that devices had lost their connections and were not back when the last stage ended, or when a stage
// stopped them, if nobody asked for that: a percentile knows nothing of those who are no longer there. A threshold on recovery
// says what may be, one on devices does if it is about a time after that, and so does a fault of the scenario.
func (e *Evidence) Gone() []string {
	r := e.Run
	connects := r.Totals.Select(metrics.OpConnect, "")
	judged := slices.ContainsFunc(e.Scenario.Thresholds, func(t threshold.Threshold) bool { return t.Operation == metrics.OpRecovery })
	if judged || connects != nil && e.wantsFailure(connects) {
		return nil
	}
	for i := range slices.Backward(r.Outages) {
		o := &r.Outages[i]
		until := time.Duration(math.MaxInt64) // they are gone to the end
		if o.Left > 0 {
			until = o.From
		}
		if o.Recovered || e.faulty(o.From) || e.allCounted(until) {
			continue
		}
		text := fmt.Sprintf("%s of those connected were gone when the last stage ended, the first since %s", human.Number(o.Lost, "device"), human.Duration(o.From))
		if o.Left > 0 {
			text = fmt.Sprintf("%s lost their connections, the first at %s, and had not come back when a stage stopped them", human.Number(o.Left, "device"),
				human.Duration(o.From))
		}
		if connects != nil && connects.Errors() > 0 {
			text += ": " + why(connects)
		}
		return []string{text}
	}
	return nil
}

// allCounted reports whether thresholds are about the connected devices of every group at some time that is not before at.
func (e *Evidence) allCounted(at time.Duration) bool {
	for i := range e.Scenario.Fleet.Groups {
		if !e.counted(e.Scenario.Fleet.Groups[i].Name, at) {
			return false
		}
	}
	return len(e.Scenario.Fleet.Groups) > 0 || e.counted("", at)
}

// faulty reports whether the stage of a time, or the one before it, whose faults may last, has devices lose their connections.
func (e *Evidence) faulty(at time.Duration) bool {
	stages := e.Run.Stages
	for i := range stages {
		last := i == len(stages)-1
		if !last && at >= stages[i].To {
			continue
		}
		for _, t := range e.Scenario.Stages[max(0, i-1) : i+1] {
			if t.Storm != nil || t.Hub != nil || t.Network != nil {
				return true
			}
		}
		return false
	}
	return false
}

// jobDidSome reports whether a job did what it was to do for a device: it does not end well when one of many is absent.
func (e *Evidence) jobDidSome(name string) bool {
	return slices.ContainsFunc(e.Run.Jobs, func(j report.Job) bool { return j.Name == name && j.Succeeded > 0 })
}

func kind(op metrics.Operation, group string) string {
	if group == "" {
		return string(op)
	}
	return string(op) + " of " + group
}

// due is how many operations were due, without those that were dropped on purpose.
func due(x *metrics.SeriesSnapshot) uint64 {
	return x.Scheduled() - x.Dropped[metrics.DropPaused] - x.Dropped[metrics.DropStopped]
}

// why is the most frequent reason of operations none of which ended well.
func why(x *metrics.SeriesSnapshot) string {
	cause, most := "", uint64(0)
	for _, r := range x.Reasons {
		if r.Count > most {
			cause, most = r.Reason, r.Count
		}
	}
	if most == 0 {
		for _, name := range []string{metrics.DropNotConnected, metrics.DropInFlight, metrics.DropOther} {
			if n := x.Dropped[name]; n > most {
				cause, most = "dropped ("+name+")", n
			}
		}
	}
	if most == 0 {
		return "nothing is known of why"
	}
	text := fmt.Sprintf("%s (%s of %s)", cause, human.Count(most), human.Count(due(x)))
	if cause == reason.Untrusted {
		text += "; " + target.TrustRemedy
	}
	return text
}

// wantsFailure reports whether a threshold on an operation asks that it fails, and is met.
func (e *Evidence) wantsFailure(x *metrics.SeriesSnapshot) bool {
	for i, t := range e.Scenario.Thresholds {
		if t.Operation != x.Operation || !metrics.InGroup(x.Group, t.Group) || i >= len(e.Run.Thresholds) || !e.Run.Thresholds[i].Pass {
			continue
		}
		over := e.Run.Totals
		if n := slices.IndexFunc(e.Run.Stages, func(s report.Stage) bool { return s.Name == t.Scope.Stage }); n >= 0 && e.Run.Stages[n].Totals != nil {
			over = e.Run.Stages[n].Totals
		}
		if t.WantsFailure(over) {
			return true
		}
	}
	return false
}

// NeverDue names what the scenario has devices or the service do and what was due not once: the run was too short, or
// its schedule says so.
func (e *Evidence) NeverDue() []string {
	var texts []string
	add := func(op metrics.Operation, name string) {
		if x := e.Run.Totals.Find(op, name); x != nil && x.Scheduled() == 0 {
			texts = append(texts, kind(op, name)+" was never due in this run")
		}
	}
	for i := range e.Scenario.Fleet.Groups {
		g := &e.Scenario.Fleet.Groups[i]
		x := e.Run.Totals.Find(metrics.OpConnect, g.Name)
		if x == nil || x.Count(metrics.OK) == 0 {
			continue
		}
		for _, k := range g.Kinds() {
			if k.Every > 0 {
				add(metrics.OpTelemetry, k.Series(g))
			}
		}
	}
	for _, q := range e.Scenario.Service.Queries {
		add(metrics.OpQuery, q.Name)
	}
	for _, m := range e.Scenario.Service.Methods {
		add(metrics.OpMethod, m.Name)
	}
	for _, t := range e.Scenario.Service.TwinReads {
		add(metrics.OpTwinRead, t.Group)
	}
	return texts
}
