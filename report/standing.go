package report

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/report/human"
)

// Outlook is what the verdict of a run would be if nothing changed any more.
type Outlook string

// The outlooks, from best to worst but for the first.
const (
	Starting  Outlook = "starting"   // no stage has begun
	Holding   Outlook = "holding"    // no threshold is missed, and all that was tried worked at least once
	CannotSay Outlook = "cannot_say" // the load is not the one asked for, or was changed by hand
	Missing   Outlook = "missing"    // a threshold is missed
	Failing   Outlook = "failing"    // something that was tried never worked
)

// Standing is how a run stands: what somebody who looks for five seconds must know. It is the same for everybody who shows it.
type Standing struct {
	Outlook    Outlook       `json:"outlook"`          // what the verdict would be
	Reason     string        `json:"reason,omitempty"` // one line that says why it is not Holding; while it is, what that rests on
	Thresholds []judge.State `json:"thresholds"`       // in the order of the scenario
	Failing    []string      `json:"failing,omitempty"`
	// Doubt says why the load is not the one that was asked for, with the stage; empty while it is. Then the figures speak of the
	// generator and not of the target.
	Doubt string `json:"doubt,omitempty"`

	Connected int `json:"connected"` // devices that are connected
	Wanted    int `json:"wanted"`    // devices that should be: without those not started, or offline by their own will
	Fleet     int `json:"fleet"`     // devices of the scenario

	Rollouts []Wave `json:"rollouts,omitempty"` // waves that began, in the order of the scenario; a rollout by a configuration is one

	// Agents is what is known of those that run the devices of a run on many machines, by name; none for a run in one process.
	Agents []Agent `json:"-"`

	Left time.Duration `json:"left"` // until the last stage is over, as it is planned; 0 when that is not known, or when it is over
}

// AgentsText is how many agents there are, and how many were lost; empty for a run in one process.
func (s *Standing) AgentsText() string {
	lost := 0
	for i := range s.Agents {
		if s.Agents[i].Lost != nil {
			lost++
		}
	}
	switch {
	case len(s.Agents) == 0:
		return ""
	case lost == 0:
		return human.Number(len(s.Agents), "agent")
	default:
		return human.Count(lost) + " of " + human.Number(len(s.Agents), "agent") + " lost"
	}
}

// DevicesText is how many devices are connected, of how many.
func (s *Standing) DevicesText() string {
	text := human.Count(s.Connected) + " of " + human.Number(s.Wanted, "device")
	if s.Wanted < s.Fleet {
		text += ", " + human.Count(s.Fleet) + " in all"
	}
	return text
}
