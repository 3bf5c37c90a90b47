package vain

import (
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report/human"
)

// Unprovisioned says that devices were started and never assigned to a hub, or were assigned and never connected to it: a
// percentile of registrations knows nothing of those that never ended well, and a registration that did is worth nothing when
// the hub does not know the device. A threshold on devices says how many may be missing, and one on registrations, or
// connections, that wants them to fail; so does who ends a stage by hand.
func (e *Evidence) Unprovisioned() []string {
	if len(e.ByHand) > 0 || e.judged(threshold.OfDevices, "") {
		return nil
	}
	var texts []string
	for i := range e.Run.Provisioned {
		p := &e.Run.Provisioned[i]
		registers, connects := e.Run.Totals.Find(metrics.OpDPSRegister, p.Group), e.Run.Totals.Find(metrics.OpConnect, p.Group)
		switch {
		case p.Assigned < p.Devices && registers != nil && !e.wantsFailure(registers):
			texts = append(texts, fmt.Sprintf("%s of %s were not assigned to a hub before the run ended: %s", of(p.Devices-p.Assigned, p.Devices), p.Group,
				e.unassigned(registers)))
		case p.Connected < p.Assigned && connects != nil && !e.wantsFailure(connects):
			texts = append(texts, fmt.Sprintf("%s of %s were assigned to a hub and never connected to it: %s", of(p.Assigned-p.Connected, p.Assigned), p.Group,
				unconnected(connects)))
		}
	}
	return texts
}

// of is some of all devices, in words.
func of(n, all int) string {
	return fmt.Sprintf("%s of %s", human.Count(n), human.Number(all, "device"))
}

// judged reports whether a threshold is about an operation, or about devices.
func (e *Evidence) judged(op metrics.Operation, group string) bool {
	return slices.ContainsFunc(e.Scenario.Thresholds, func(t threshold.Threshold) bool { return t.Operation == op && (group == "" || t.Group == group) })
}

// unassigned is why devices of a group were not assigned.
func (e *Evidence) unassigned(registers *metrics.SeriesSnapshot) string {
	open := registers.Count(metrics.Unanswered)
	if 2*open < registers.Errors()+registers.Count(metrics.Throttled) {
		return why(registers)
	}
	text := fmt.Sprintf("%s were under way then", human.Number(int(open), "registration"))
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
