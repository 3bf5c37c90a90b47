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
	CannotSay Outlook = "cannot_say" // the load is not the one asked for: of thresholds nothing can be said
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

	Rollouts []Progress `json:"rollouts,omitempty"` // of their waves that began, in the order of the scenario

	Left time.Duration `json:"left"` // until the last stage is over, as it is planned; 0 when that is not known, or when it is over
}

// Progress is what became of a wave of a rollout until now; a rollout by a configuration is one wave.
type Progress struct {
	Rollout  string        `json:"rollout"`  // its name
	Wave     int           `json:"wave"`     // from 1
	Of       int           `json:"of"`       // waves of the rollout
	Devices  int           `json:"devices"`  // of this wave alone
	Patched  int           `json:"patched"`  // twins written
	Told     int           `json:"told"`     // devices that were notified
	Answered int           `json:"answered"` // devices that answered in reported
	Failed   int           `json:"failed"`   // of an ended one: devices that had not answered, or been told if they do not answer
	Took     time.Duration `json:"took"`     // so far
	Running  bool          `json:"running"`  // it goes on
	Stopped  bool          `json:"stopped"`  // the rollout stopped here: too many devices had failed
}

// DevicesText is how many devices are connected, of how many.
func (s *Standing) DevicesText() string {
	text := human.Count(s.Connected) + " of " + human.Number(s.Wanted, "device")
	if s.Wanted < s.Fleet {
		text += ", " + human.Count(s.Fleet) + " in all"
	}
	return text
}

// GeneratorText says whether the figures can be believed.
func (s *Standing) GeneratorText() string {
	if s.Doubt != "" {
		return "the bottleneck: " + s.Doubt
	}
	return "as asked"
}
