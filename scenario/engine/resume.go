package engine

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Resume is a run that another process led, which is gone, for the one that takes it over.
type Resume struct {
	Record *report.Run          // as it was last known; Started is needed
	Stages []time.Time          // when the stages began that were told to, in their order
	Ends   time.Time            // when the last of all is over, if that is settled; else zero
	Away   time.Time            // until when the other process is known to have led it
	Made   func(index int) bool // of which devices the run made the identities; nil for none
}

// begun is when the run began.
func (e *Engine) begun() time.Time {
	if x := e.opts.Resume; x != nil {
		return x.Record.Started
	}
	return time.Now()
}

// inherit adds to a record what is known of the run from before it was taken over.
func (x *Resume) inherit(r *report.Run) {
	if x == nil {
		return
	}
	old := x.Record
	r.Notes = append(append(r.Notes, old.Notes...), fmt.Sprintf("this process took the run over: nobody led it for %s", human.Duration(time.Since(x.Away))))
	r.Steps, r.Outages, r.Interventions, r.Waves, r.Configured, r.Jobs = old.Steps, old.Outages, old.Interventions, old.Waves, old.Configured, old.Jobs
	r.ServiceErrors = old.ServiceErrors
}

// led says which stages nobody led for a while, and why nothing can be said of them.
func (x *Resume) led(stages []string) map[string]string {
	out := make(map[string]string)
	if x == nil {
		return out
	}
	now := time.Now()
	for i, at := range x.Stages {
		until := now
		if i+1 < len(x.Stages) {
			until = x.Stages[i+1]
		}
		if until.After(x.Away) && at.Before(now) && i < len(stages) {
			out[stages[i]] = fmt.Sprintf("the run was taken over: nobody led it for %s", human.Duration(now.Sub(x.Away)))
		}
	}
	return out
}

// past takes up the stages that are over of a run that was taken over, and returns the number of the one that runs.
func (c *conductor) past(tell *herald) int {
	x := c.opts.Resume
	if x == nil || len(x.Stages) == 0 {
		return 0
	}
	n := len(x.Stages) - 1
	for i, at := range x.Stages[:n] {
		t := &c.sc.Stages[i]
		from := c.ledger.Enter(t.Name, c.rec.SetStageAt(t.Name, at))
		c.beginStage(t.Name)
		c.gate.Enter(i, t.Name, t.Duration)()
		c.crew.Past(i, at, x.Stages[i+1])
		row := report.Stage{Name: t.Name, From: from, To: x.Stages[i+1].Sub(x.Record.Started)}
		c.ran = c.fleet.Ran()
		c.ledger.Write(func(r *report.Run) { r.Stages = append(r.Stages, row) })
	}
	tell.next = x.Stages[n]
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
