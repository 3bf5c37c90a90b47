package vain

import (
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Lost says of which messages a broker acknowledged some that never arrived, unless a threshold says how many deliveries may be lost. One of a single stage does so
// for its messages, and so does a stage with a fault that has devices lose their connections.
func (e *Evidence) Lost() []string {
	d := e.Run.Deliveries
	if d == nil || d.Reader != nil { // a hub whose messages are read has contradicted itself
		return nil
	}
	var texts []string
	for i := range d.Groups {
		g := &d.Groups[i]
		x := e.Run.Totals.Find(metrics.OpDelivery, g.Group)
		if g.Missing == 0 || x == nil || e.mayBeLost(g.Group, x.Count(metrics.Timeout)) {
			continue
		}
		texts = append(texts, fmt.Sprintf("%s of %s never arrived, though the broker acknowledged the messages: a threshold such as delivery{group=%[2]s}: missing < 1 says how many may be lost",
			deliveries(g), g.Group))
	}
	return texts
}

func deliveries(g *report.Copies) string {
	if g.Missing == 1 {
		return "1 delivery"
	}
	return human.Count(int(g.Missing)) + " deliveries"
}

// mayBeLost reports whether thresholds, or faults, are about all deliveries of a group's messages that had no answer in time, of which there are so many.
func (e *Evidence) mayBeLost(group string, lost uint64) bool {
	stages := make(map[string]bool)
	for _, t := range e.Scenario.Thresholds {
		switch {
		case t.Operation != metrics.OpDelivery || !t.OfLosses() || !metrics.InGroup(group, t.Group):
		case t.Scope.Stage == "":
			return true
		default:
			stages[t.Scope.Stage] = true
		}
	}
	spoken := uint64(0)
	for i := range e.Run.Stages {
		s := &e.Run.Stages[i]
		if s.Totals == nil || !stages[s.Name] && !e.faulty(s.From) {
			continue
		}
		if x := s.Totals.Find(metrics.OpDelivery, group); x != nil {
			spoken += x.Count(metrics.Timeout)
		}
	}
	return spoken > 0 && spoken >= lost
}
