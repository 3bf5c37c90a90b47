// Package report is the record of a run as plain data, and the Observer to whom it is told while it goes on. What is made of
// it, for people and for programs, is in the packages below.
package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report/human"
)

// Outcome is the verdict of a whole run.
type Outcome string

// The outcomes of a run, from best to worst. The command line turns them into exit codes.
const (
	Passed      Outcome = "passed"      // everything ran and every threshold held
	Missed      Outcome = "missed"      // a threshold was missed or had no data
	Saturated   Outcome = "saturated"   // the load was not the one asked for, or is likely not to have been (Run.Guessed): of thresholds nothing can be said
	Interrupted Outcome = "interrupted" // stopped by a person before its end
	Failed      Outcome = "failed"      // the run could not do what the scenario says, or nothing worked
)

// Headline is the outcome as reports write it over what they say: that of a run that has not passed for a guess alone is not that its generator was
// too slow.
func (r *Run) Headline() string {
	if r.Guessed() {
		return "cannot say"
	}
	return string(r.Outcome)
}

// Guessed reports whether the run would have passed but for its Suspicion.
func (r *Run) Guessed() bool {
	return r.Outcome == Saturated && r.Suspicion != "" && strings.HasSuffix(r.Reason, r.Suspicion)
}

// Run is the record of one run: everything a report may say. Nothing in it is a secret.
type Run struct {
	Name        string    `json:"name"`                  // the scenario's
	Description string    `json:"description,omitempty"` // the scenario's; may be empty
	Version     string    `json:"version"`               // of the program
	Seed        uint64    `json:"seed"`                  // every random choice followed from it
	Target      string    `json:"target"`                // what was loaded, without credentials
	Devices     int       `json:"devices"`               // the scenario's whole fleet
	Client      string    `json:"client,omitempty"`      // the MQTT client that drove them; empty in old records
	Ran         *int      `json:"ran,omitempty"`         // devices that were started; nil in old records
	Started     time.Time `json:"started"`               // UTC
	Ended       time.Time `json:"ended"`                 // UTC
	Outcome     Outcome   `json:"outcome"`               // the verdict
	Reason      string    `json:"reason,omitempty"`      // one line that says why the outcome is not Passed
	Suspicion   string    `json:"suspicion,omitempty"`   // what is likely to have spoiled the run, and nobody knows for sure: it has not passed; empty for nothing

	Grafana string `json:"grafana,omitempty"` // address of a Grafana with twinfleet's boards; empty when none was named

	Machine       Machine             `json:"machine"`                  // what the generator ran on
	Rules         []Rule              `json:"rules,omitempty"`          // the thresholds, to judge them once more
	Stages        []Stage             `json:"stages"`                   // that began, in their order
	Steps         []Step              `json:"steps,omitempty"`          // of the stages, as they ended
	Interventions Interventions       `json:"interventions,omitempty"`  // what somebody did by hand to its load, in their order
	Outages       []Outage            `json:"outages,omitempty"`        // in their order
	Provisioned   []Provisioned       `json:"provisioned,omitempty"`    // by group of devices that a provisioning service assigns; none where there are no such groups
	Reach         []Reach             `json:"reach,omitempty"`          // by group: how far its devices came on their way to the target; none in old records
	SessionsLeft  int                 `json:"sessions_left,omitempty"`  // that a broker keeps of devices when the run is over: they could not be ended
	Deliveries    *Deliveries         `json:"deliveries,omitempty"`     // nil when none were measured
	Waves         []Wave              `json:"waves,omitempty"`          // of rollouts, as they ended
	Configured    []Configured        `json:"configured,omitempty"`     // rollouts by a configuration, as they ended
	Jobs          []Job               `json:"jobs,omitempty"`           // as they were last seen
	Rows          []string            `json:"rows,omitempty"`           // names of queries whose results are rows of their own making, not devices
	ServiceErrors []ServiceError      `json:"service_errors,omitempty"` // by task and code
	Freshness     *Freshness          `json:"freshness,omitempty"`      // nil when it was not measured
	Notes         []string            `json:"notes,omitempty"`          // what a reader must know to trust the figures
	Thresholds    []threshold.Verdict `json:"thresholds,omitempty"`     // what became of the rules; as many, in their order
	Totals        *metrics.Snapshot   `json:"totals"`                   // the whole run

	Agents    []Agent   `json:"agents,omitempty"`    // that ran the devices, by name; none when they ran in one process
	Generator *Health   `json:"generator,omitempty"` // nil when the fleet never ran
	Purchase  *Purchase `json:"purchase,omitempty"`  // what must be bought for the scenario, by arithmetic; nil in old records and for brokers
}

// Duration is how long the run took.
func (r *Run) Duration() time.Duration { return r.Ended.Sub(r.Started) }

// Loaded is how long the stages took together; how long the run took when there were none.
func (r *Run) Loaded() time.Duration {
	if n := len(r.Stages); n > 0 && r.Stages[n-1].To > r.Stages[0].From {
		return r.Stages[n-1].To - r.Stages[0].From
	}
	return r.Duration()
}

// DevicesText is how many devices ran: of how many, when not all of them were started, and how many of them never connected.
func (r *Run) DevicesText() string {
	text, ran := human.Number(r.Devices, "device"), r.Devices
	if r.Ran != nil && *r.Ran < r.Devices {
		ran = *r.Ran
		text = fmt.Sprintf("%s of %s", human.Count(ran), text)
	}
	if n := r.Connected(); n != nil && *n < ran {
		text += fmt.Sprintf(", %s never connected", human.Count(ran-*n))
	}
	return text
}

// Connected is how many devices connected at least once; nil in old records.
func (r *Run) Connected() *int {
	if r.Reach == nil {
		return nil
	}
	n := 0
	for _, x := range r.Reach {
		n += x.Connected
	}
	return &n
}

// Reach is how far the devices of a group came on their way to the target.
type Reach struct {
	Group     string `json:"group"`     // its name
	Devices   int    `json:"devices"`   // that were started
	Tried     int    `json:"tried"`     // of them: that connected, or failed to, at least once
	Connected int    `json:"connected"` // of them: that connected at least once, and had what they subscribe to
	// Inherited are those of whom the broker had a session that is none of this run, which was ended: over MQTT 3.1.1 alone, as 5 does not tell.
	Inherited int `json:"inherited,omitempty"`
}

// Provisioned is what became of the devices of a group that a provisioning service assigns to their hub.
type Provisioned struct {
	Group     string `json:"group"`     // its name
	Devices   int    `json:"devices"`   // that were started
	Assigned  int    `json:"assigned"`  // of them: that were assigned to a hub at least once
	Connected int    `json:"connected"` // of them: that connected to the hub at least once
	Repeated  int    `json:"repeated"`  // registrations because the hub refused an identity that had been assigned
}

// Deliveries is what a reader of a run should know of its operation delivery beside its figures.
type Deliveries struct {
	Groups []Copies `json:"groups"`           // those whose deliveries were measured
	Reader *Reading `json:"reader,omitempty"` // who read them at a hub; nil for a broker, whose subscribers are devices
}

// Copies are those of the messages of a group that count as no delivery.
type Copies struct {
	Group      string `json:"group"`        // its name, and of a kind of messages with a name GROUP/NAME
	Duplicates uint64 `json:"duplicates"`   // that a subscriber had before
	Late       uint64 `json:"late"`         // that came after their time was up: they are among the deliveries that timed out
	Missing    uint64 `json:"missing"`      // that have not come, though the target has acknowledged the message: among them too
	OutOfOrder uint64 `json:"out_of_order"` // that came after one of a later message of the same device and kind
	// Retained are those that the target had kept, and sent because somebody subscribed.
	Retained uint64 `json:"retained,omitempty"`
}

// Reading is how messages were read at the Event-Hubs-compatible endpoint of a hub.
type Reading struct {
	Messages   uint64        `json:"messages"`        // that were read, whoever sent them
	Losses     int           `json:"losses"`          // times that the connection was lost
	Away       time.Duration `json:"away"`            // without a connection: what came meanwhile was read late
	Repeated   uint64        `json:"repeated"`        // that the hub sent once more after that, and which count as nothing
	Missing    uint64        `json:"missing"`         // that the hub's log left out
	Unreadable uint64        `json:"unreadable"`      // that were no messages
	Restarts   int           `json:"restarts"`        // times that the hub's log began anew
	Error      string        `json:"error,omitempty"` // why the last connection was lost
}

// Whole reports whether all that were started were assigned, and connected.
func (p *Provisioned) Whole() bool { return p.Assigned >= p.Devices && p.Connected >= p.Devices }

// At is a time of the run as people read it: how long after its start, and in which stage.
func (r *Run) At(t time.Duration) string {
	text := human.Duration(t.Round(100 * time.Millisecond))
	for i := len(r.Stages) - 1; i >= 0; i-- {
		if s := r.Stages[i]; t >= s.From && t <= s.To {
			return text + " in stage " + s.Name
		}
	}
	return text
}

// MissedText says since when a threshold was missed: "missed since 31.0s in stage hold", or that only the end showed it; "" of one that
// was not missed, or that had nothing to judge.
func (r *Run) MissedText(v *threshold.Verdict) string {
	switch {
	case !v.Missed() || v.NoData:
		return ""
	case v.Since.IsZero():
		return "missed, as only the end showed"
	}
	return "missed since " + r.At(v.Since.Sub(r.Started))
}

// Machine is what the generator ran on.
type Machine struct {
	OS   string `json:"os"`   // as Go names it
	Arch string `json:"arch"` // likewise
	CPUs int    `json:"cpus"` // that the program may use
	Go   string `json:"go"`   // version of the runtime
}

// Stage is one stage of the scenario as it ran. Times are since the run's start.
type Stage struct {
	Name string        `json:"name"` // the scenario's
	From time.Duration `json:"from"` // when it began
	To   time.Duration `json:"to"`   // when it ended
	// Totals is the account of what was intended in the stage, whenever it ended; nil in old records.
	Totals *metrics.Snapshot `json:"totals,omitempty"`
}

// Step is one step of a stage, as it ended.
type Step struct {
	Stage  string        `json:"stage"`  // in which it was
	Text   string        `json:"text"`   // what was done
	Detail string        `json:"detail"` // what came back
	OK     bool          `json:"ok"`     // it did what was expected
	Took   time.Duration `json:"took"`   // from its start to its end
}

// GroupNames are the groups of devices, in the order in which the totals have them.
func (r *Run) GroupNames() (names []string) {
	for _, d := range r.Totals.Devices {
		if !slices.Contains(names, d.Group) {
			names = append(names, d.Group)
		}
	}
	return names
}
