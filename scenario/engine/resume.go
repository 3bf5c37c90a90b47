package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/ledger"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// Resume is a run that another process led, which is gone, for the one that takes it over.
type Resume struct {
	Record *report.Run          // as it was last known; Started is needed
	Stages []time.Time          // when the stages began that were told to, in their order
	Ends   time.Time            // when the last of all is over, if that is settled; else zero
	Away   time.Time            // until when the other process is known to have led it
	Made   func(index int) bool // of which devices the run made the identities; nil for none
	// Earlier are the times in which nobody led it before, when that process had taken it over from yet another; in their order.
	Earlier []Unled
}

// Unled is a time in which nobody led a run.
type Unled struct {
	From time.Time // when it is last known to have been led
	To   time.Time // when it was taken over
}

// before is how many processes led the run before this one.
func (x *Resume) before() int {
	if x == nil {
		return 0
	}
	return len(x.Earlier) + 1
}

// unled are the times in which nobody led the run, the last until now.
func (x *Resume) unled(now time.Time) []Unled {
	return append(slices.Clone(x.Earlier), Unled{x.Away, now})
}

// text says of a time when it was, since the run began, and how long.
func (u Unled) text(began time.Time) string {
	return fmt.Sprintf("nobody led it for %s, from %s to %s after it began", human.Duration(u.To.Sub(u.From)), human.Duration(u.From.Sub(began)), human.Duration(u.To.Sub(began)))
}

// takenOver is what a record says of a run that was.
const takenOver = "the run was taken over"

// tell tells those who watch of the takeover.
func (x *Resume) tell(to *ledger.Ledger) {
	if x != nil {
		to.Tell(report.Event{Kind: report.KindOutage, Text: takenOver, Detail: Unled{x.Away, time.Now()}.text(x.Record.Started)})
	}
}

// begun is when the run began.
func (e *Engine) begun() time.Time {
	if x := e.opts.Resume; x != nil {
		return x.Record.Started
	}
	return time.Now()
}

// target is what is loaded, by the name of the target: devices may be at servers to which it sent them before the run was taken over.
func (x *Resume) target(name string) string {
	if x != nil && strings.HasPrefix(x.Record.Target, name+redirectedTo) {
		return x.Record.Target
	}
	return name
}

// inherit adds to a record what is known of the run from before it was taken over.
func (x *Resume) inherit(r *report.Run) {
	if x == nil {
		return
	}
	old := x.Record
	for _, note := range old.Notes {
		if !slices.Contains(r.Notes, note) { // both say what the scenario is
			r.Notes = append(r.Notes, note)
		}
	}
	r.Notes = append(r.Notes, takenOver+": "+Unled{x.Away, time.Now()}.text(old.Started))
	r.Steps, r.Outages, r.Interventions, r.Waves, r.Configured, r.Jobs = old.Steps, old.Outages, old.Interventions, old.Waves, old.Configured, old.Jobs
	r.ServiceErrors, r.Suspicion = old.ServiceErrors, old.Suspicion
}

// began is when each stage began: those that were told to, and those that have begun by now as they are planned, which agents do without a word.
func (x *Resume) began(stages []scenario.Stage, now time.Time) []time.Time {
	all := slices.Clone(x.Stages)
	for n := len(all); n > 0 && n < len(stages); n++ {
		next := all[n-1].Add(stages[n-1].Duration)
		if stages[n-1].Duration == 0 || next.After(now) {
			break
		}
		all = append(all, next)
	}
	return all
}

// led says which stages nobody led for a while, and why nothing can be said of them.
func (x *Resume) led(stages []scenario.Stage) map[string]string {
	out := make(map[string]string)
	if x == nil {
		return out
	}
	now := time.Now()
	began := x.began(stages, now)
	for i, at := range began {
		until, name := now, stages[i].Name
		if i+1 < len(began) {
			until = began[i+1]
		}
		for _, u := range x.unled(now) {
			if until.After(u.From) && at.Before(u.To) && out[name] == "" {
				out[name] = takenOver + ": " + u.text(x.Record.Started)
			}
		}
	}
	return out
}

// past takes up the stages that are over of a run that was taken over, and returns the number of the one that runs. Those that began by the plan
// while nobody led the run are told, for who takes it over next.
func (c *conductor) past(tell *herald) int {
	x := c.opts.Resume
	if x == nil || len(x.Stages) == 0 {
		return 0
	}
	began := x.began(c.sc.Stages, time.Now())
	for i := len(x.Stages); i < len(began); i++ {
		c.opts.Agents.Stage(i, began[i])
	}
	n := len(began) - 1
	for i, at := range began[:n] {
		t := &c.sc.Stages[i]
		from := c.ledger.Enter(t.Name, c.rec.SetStageAt(t.Name, at))
		c.beginStage(t.Name)
		c.gate.Enter(i, t.Name, t.Duration)()
		c.crew.Past(i, at, began[i+1])
		row := report.Stage{Name: t.Name, From: from, To: began[i+1].Sub(x.Record.Started)}
		c.ran = c.fleet.Ran()
		c.ledger.Write(func(r *report.Run) { r.Stages = append(r.Stages, row) })
	}
	tell.next = began[n]
	return n
}

// unledText says that nobody led the run for a while; empty when somebody did.
func (e *Engine) unledText() string {
	for i := range e.sc.Stages {
		if why := e.unled[e.sc.Stages[i].Name]; why != "" {
			return "stage " + e.sc.Stages[i].Name + ": " + why
		}
	}
	return ""
}
