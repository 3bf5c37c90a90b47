package engine

import (
	"errors"
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// Errors of Change.
var (
	ErrNoStage = errors.New("no stage runs")                                    // before the first, between two, after the last
	ErrNobody  = errors.New("no group of the scenario sends what is asked for") // a rate of reports or messages that nobody sends
)

// Change changes the load of the stage that runs until that ends: the devices that are active, at the stage's rate of connections or else
// within 10 s; the rates of reports and of messages, in place of the stage's own, evenly apart. What devices do on their own schedules goes
// on. The stages to come are as the scenario has them; one that says nothing of devices keeps those that there are. A run whose load was
// changed is never Passed, and of its thresholds nothing can be said from then on. It may be called at any time; its error says
// what is wrong with the change, ErrNoStage or ErrNobody.
func (e *Engine) Change(change report.LoadChange) error {
	if err := change.Check(e.sc.Devices()); err != nil {
		return err
	}
	if change.ReportRate != nil && (!e.sc.Target.Can().Twins || len(e.sc.Rated(true)) == 0) || change.TelemetryRate != nil && len(e.sc.Rated(false)) == 0 {
		return ErrNobody
	}
	at, err := e.ledger.Since(), ErrNoStage
	e.controls.change(func(c *controls) {
		l := c.load
		if l == nil {
			return
		}
		err = nil
		c.did = append(c.did, report.Intervention{At: at, Stage: c.name, Act: report.ActChanged, Detail: change.String()})
		when := time.Now()
		if a := e.opts.Agents; a != nil {
			when = when.Add(a.Lead())
			a.Change(change, when)
		}
		l.Change(change, when)
	})
	if err == nil {
		e.ledger.Tell(report.Event{Kind: report.KindChanged, OK: true, Text: "the load was changed by hand", Detail: change.String()})
	}
	return err
}
