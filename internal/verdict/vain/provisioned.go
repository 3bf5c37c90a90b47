package vain

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Unprovisioned says that devices were started and never assigned to a hub, or were assigned and never connected to it: a
// percentile of registrations knows nothing of those that never ended well, and a registration that did is worth nothing when
// the hub does not know the device. A threshold on devices says how many may be missing, if it is about the group at the end
// of the run, and one on registrations, or connections, that wants them to fail; so does who ends a stage by hand.
func (e *Evidence) Unprovisioned() []string {
	if e.byHand() {
		return nil
	}
	var texts []string
	for i := range e.Run.Provisioned {
		p := &e.Run.Provisioned[i]
		if e.counted(p.Group, math.MaxInt64) {
			continue
		}
		registers, connects := e.Run.Totals.Find(metrics.OpDPSRegister, p.Group), e.Run.Totals.Find(metrics.OpConnect, p.Group)
		switch {
		case p.Assigned < p.Devices && registers != nil && !e.wantsFailure(registers):
			texts = append(texts, fmt.Sprintf("%s of %s %s not assigned to a hub before the run ended: %s", of(p.Devices-p.Assigned, p.Devices), p.Group,
				were(p.Devices-p.Assigned), e.unassigned(registers)))
		case p.Connected < p.Assigned && connects != nil && !e.wantsFailure(connects):
			texts = append(texts, fmt.Sprintf("%s of %s %s assigned to a hub and never connected to it: %s", of(p.Assigned-p.Connected, p.Assigned), p.Group,
				were(p.Assigned-p.Connected), unconnected(connects)))
		}
	}
	return texts
}

// of is some of all devices, in words.
func of(n, all int) string {
	return fmt.Sprintf("%s of %s", human.Count(n), human.Number(all, "device"))
}

// were is the verb of so many.
func were(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// counted reports whether a threshold is about the devices of a group, or of all, that are connected at some time that is not
// before at: it says how many may be missing then. One of an earlier stage, or of another group, knows nothing of them.
func (e *Evidence) counted(group string, at time.Duration) bool {
	return slices.ContainsFunc(e.Scenario.Thresholds, func(t threshold.Threshold) bool {
		if t.Operation != threshold.OfDevices || t.Group != "" && t.Group != group {
			return false
		}
		stages := e.Run.Stages
		n := slices.IndexFunc(stages, func(s report.Stage) bool { return s.Name == t.Scope.Stage })
		return t.Scope.Stage == "" || n >= 0 && (n == len(stages)-1 || stages[n].To >= at)
	})
}

// unassigned is why devices of a group were not assigned.
func (e *Evidence) unassigned(registers *metrics.SeriesSnapshot) string {
	open := registers.Count(metrics.Unanswered)
	if 2*open < registers.Errors()+registers.Count(metrics.Throttled) {
		return why(registers)
	}
	text := fmt.Sprintf("%s %s under way then", human.Number(int(open), "registration"), were(int(open)))
	thrown := uint64(0)
	for _, op := range []metrics.Operation{metrics.OpDPSPut, metrics.OpDPSGet} {
		if x := e.Run.Totals.Find(op, registers.Group); x != nil {
			thrown += x.Count(metrics.Throttled)
		}
	}
	if thrown > 0 {
		text += fmt.Sprintf(", of a service that threw back %s with 429", human.Number(int(thrown), "request"))
	}
	return text + "; a step await: {connected: 100%} waits for them"
}

// unconnected is why devices that were assigned did not connect.
func unconnected(connects *metrics.SeriesSnapshot) string {
	if connects.Errors()+connects.Count(metrics.Throttled) == 0 {
		return "the run ended first; a step await: {connected: 100%} waits for them"
	}
	return why(connects)
}
