package report

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
)

// Freshness is what the freshness audit watched. Its times are in the totals: operation freshness.
type Freshness struct {
	Sampled   int           `json:"sampled"`             // devices that were watched
	Devices   int           `json:"devices"`             // that report
	Probe     time.Duration `json:"probe"`               // how often it asked; 0 for scheduled queries alone
	Tolerance time.Duration `json:"tolerance"`           // before a row counts as missing, extra or stale
	Unseen    int           `json:"unseen"`              // acknowledged reports that no result had shown when the run ended
	Verified  *Verified     `json:"verified,omitempty"`  // nil when twins were not read at the end
	Unchecked []Unchecked   `json:"unchecked,omitempty"` // queries whose results could not be checked
}

// Verified is the comparison of twins with what was acknowledged, after the devices had stopped.
type Verified struct {
	Devices int `json:"devices"` // with an acknowledged report
	Held    int `json:"held"`    // whose twins hold it
	Lost    int `json:"lost"`    // whose twins do not
	Unread  int `json:"unread"`  // whose twins could not be read
	// Reports is how many reports were acknowledged, Missing how many of them are not in the twins at the least.
	Reports int64 `json:"reports,omitempty"`
	Missing int64 `json:"missing,omitempty"` // see Reports
}

// String is the comparison in a line.
func (v *Verified) String() string {
	text := fmt.Sprintf("the twins of %s of %s hold all of them", human.Count(v.Held), human.Number(v.Devices, "device"))
	if v.Reports > 0 {
		text += fmt.Sprintf(", %s in all", human.Count(v.Reports))
	}
	if v.Missing > 0 {
		text += "; " + human.Count(v.Missing) + map[bool]string{true: " is", false: " are"}[v.Missing == 1] + " missing"
	}
	if v.Unread > 0 {
		text += fmt.Sprintf("; %s could not be read", human.Count(v.Unread))
	}
	return text
}

// Unchecked is a query whose results the audit cannot check, and why.
type Unchecked struct {
	Query string `json:"query"` // its name
	Why   string `json:"why"`   // after "for": a few words
}

// Wave is one wave of a rollout, as it ended, or so far while it runs.
type Wave struct {
	Rollout  string        `json:"rollout"`           // the rollout's name
	Group    string        `json:"group"`             // of devices
	Number   int           `json:"number"`            // from 1
	Of       int           `json:"of"`                // waves of the rollout
	Percent  int           `json:"percent"`           // of the group that has been reached with this wave
	Devices  int           `json:"devices"`           // of this wave alone
	Patched  int           `json:"patched"`           // twins written
	Told     int           `json:"told"`              // devices that were notified
	Answered int           `json:"answered"`          // devices that answered in reported
	Failed   int           `json:"failed"`            // devices that had not answered, or been told if they do not answer
	Took     time.Duration `json:"took"`              // until its end, or its time-out
	Stopped  bool          `json:"stopped,omitempty"` // the rollout stopped here: too many devices had failed
	Running  bool          `json:"running,omitempty"` // it goes on: nobody has failed yet
}

// String is the wave in a line.
func (w Wave) String() string {
	text := fmt.Sprintf("wave %d of %d to %d %%: %s patched of %s, %s told, %s answered, after %s", w.Number, w.Of, w.Percent,
		human.Count(w.Patched), human.Count(w.Devices), human.Count(w.Told), human.Count(w.Answered), human.Duration(w.Took))
	if w.Stopped {
		text += fmt.Sprintf("; %s failed, the rollout stopped", human.Count(w.Failed))
	}
	return text
}

// Configured is a rollout by a configuration of automatic device management, as it ended. What counts as reached both the
// devices and the service must say.
type Configured struct {
	Rollout  string        `json:"rollout"`          // the rollout's name
	Group    string        `json:"group"`            // of devices
	ID       string        `json:"id"`               // of the configuration
	Devices  int           `json:"devices"`          // of the group
	Before   int           `json:"before"`           // that held the properties before
	Told     int           `json:"told"`             // that were told of the properties since
	Answered int           `json:"answered"`         // that answered since
	Targeted int64         `json:"targeted"`         // twins that the service says match; -1 when it never said
	Applied  int64         `json:"applied"`          // twins that the service says it wrote; -1 when it never said
	Shares   []Share       `json:"shares"`           // in their order
	Took     time.Duration `json:"took"`             // until both said that the last share was reached, or the rollout was given up
	Missed   string        `json:"missed,omitempty"` // why the last share was not reached: the run failed; empty when it was
	Left     string        `json:"left,omitempty"`   // why the configuration is left at the service; empty when it is not
}

// Share is when a share of the devices had what a rollout brings, by what they said.
type Share struct {
	Percent int           `json:"percent"` // of the devices
	Took    time.Duration `json:"took"`    // from the sending of the configuration; 0 for a share that was not reached
	Reached bool          `json:"reached"` // whether it was
}

// String is the rollout in a line.
func (c Configured) String() string {
	text := fmt.Sprintf("%s of %s told, %s answered", human.Count(c.Told), human.Number(c.Devices, "device"), human.Count(c.Answered))
	if c.Applied >= 0 {
		text += fmt.Sprintf(", the service says that it was applied to %s of %s", human.Count(int(c.Applied)), human.Number(int(c.Targeted), "twin"))
	}
	if c.Targeted > int64(c.Devices) {
		text += fmt.Sprintf(" (%s more than the group has)", human.Count(int(c.Targeted)-c.Devices))
	}
	for _, s := range c.Shares {
		if s.Reached {
			text += fmt.Sprintf("; %d %% after %s", s.Percent, human.Duration(s.Took))
		} else {
			text += fmt.Sprintf("; %d %% not reached", s.Percent)
		}
	}
	if c.Before > 0 {
		text += fmt.Sprintf("; %s had the properties before", human.Count(c.Before))
	}
	return text
}

// Job is a scheduled job as it ended, or as it was when the run ended.
type Job struct {
	Name      string        `json:"name"`            // the scenario's
	Type      string        `json:"type"`            // twin or method
	ID        string        `json:"id"`              // at the service
	Status    string        `json:"status"`          // as the service names it; empty when the job was not made
	Devices   int           `json:"devices"`         // that it is for
	Succeeded int           `json:"succeeded"`       // of them, so far
	Failed    int           `json:"failed"`          // of them, so far
	Took      time.Duration `json:"took"`            // until it ended, or until the run did
	Error     string        `json:"error,omitempty"` // why it did not end well; empty when it did
}

// String is the job's state in a line.
func (j Job) String() string {
	text := fmt.Sprintf("%s: %s of %s done", j.Status, human.Count(j.Succeeded), human.Number(j.Devices, "device"))
	if j.Failed > 0 {
		text += fmt.Sprintf(", %s failed", human.Count(j.Failed))
	}
	return text
}

// ServiceError is how often the service answered a task of the worker with an error.
type ServiceError struct {
	Task  string `json:"task"`  // an operation with its name, or a rollout
	Code  string `json:"code"`  // such as 404103 DeviceNotOnline
	Count int    `json:"count"` // how often
}
