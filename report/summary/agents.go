package summary

import (
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// Agent is one of those that ran the devices of a run on many machines. Times are in seconds.
type Agent struct {
	Name      string         `json:"name"`
	Version   string         `json:"version"`             // of its program
	Machine   report.Machine `json:"machine"`             // where it ran
	Devices   int            `json:"devices"`             // that were its own
	TookOver  int            `json:"took_over,omitempty"` // of them: from agents that were lost
	Connected int            `json:"connected"`           // of them: before they were told to leave
	Lost      *AgentLoss     `json:"lost,omitempty"`      // absent for one that was there to the end

	ClockOffset      float64 `json:"clock_offset_seconds"`      // how far its clock was ahead of the coordinator's
	ClockUncertainty float64 `json:"clock_uncertainty_seconds"` // the truth is as far from that at most
	ClockSteps       int     `json:"clock_steps,omitempty"`     // times that one of the clocks was set meanwhile

	ControlSent     uint64  `json:"control_sent_bytes"`     // by the agent, for coordination
	ControlReceived uint64  `json:"control_received_bytes"` // likewise
	ControlCPU      float64 `json:"control_cpu_seconds"`    // that coordination took, at least
	ControlOver     float64 `json:"control_over_seconds"`   // in so long

	Generator  *Generator      `json:"generator,omitempty"`  // as that of the run
	Operations *report.Account `json:"operations,omitempty"` // what it was to do and did; absent when nothing was heard of it
}

// AgentLoss is how a run lost an agent.
type AgentLoss struct {
	At      time.Time `json:"at"`      // when it was last heard of
	Stage   string    `json:"stage"`   // that ran; empty before the first and after the last
	Devices int       `json:"devices"` // that it had
	Why     string    `json:"why"`     // one line
	Choice  string    `json:"choice"`  // what the run did: continue, redistribute or fail
}

func agentsSummary(all []report.Agent) (out []Agent) {
	for i := range all {
		a := &all[i]
		x := Agent{
			Name: a.Name, Version: a.Version, Machine: a.Machine, Devices: a.Devices, TookOver: a.TookOver, Connected: a.Connected,
			ClockOffset: a.Clock.Offset.Seconds(), ClockUncertainty: a.Clock.Uncertainty.Seconds(), ClockSteps: a.Clock.Steps,
			ControlSent: a.Control.Sent, ControlReceived: a.Control.Received, ControlCPU: a.Control.CPU.Seconds(), ControlOver: a.Control.Over.Seconds(),
			Generator: generatorSummary(a.Generator), Operations: a.Totals,
		}
		if l := a.Lost; l != nil {
			x.Lost = &AgentLoss{l.At, l.Stage, l.Devices, l.Why, l.Choice}
		}
		out = append(out, x)
	}
	return out
}
