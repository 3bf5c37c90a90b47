package engine

import "time"

// EventKind says what an event is about.
type EventKind string

// The kinds of events, in the order in which a run meets them.
const (
	EventTarget    EventKind = "target"    // the target is open
	EventProvision EventKind = "provision" // identities made or removed so far: Done of Total
	EventTagging   EventKind = "tagging"   // devices tagged so far: Done of Total
	EventStage     EventKind = "stage"     // a stage began: Done is its number, Total how many there are
	EventStep      EventKind = "step"      // a step ended; OK says whether it did what was expected
	EventOutage    EventKind = "outage"    // devices lost their connections, or came back
	EventThreshold EventKind = "threshold" // a threshold that aborts the run was missed
	EventStopping  EventKind = "stopping"  // the run winds down
	EventDrain     EventKind = "drain"     // answers that are waited for after the last stage: Done is how many
	EventRollout   EventKind = "rollout"   // a rollout began, or a wave of it ended; OK says that it goes on
	EventJob       EventKind = "job"       // the state of a job has changed
	EventVerified  EventKind = "verified"  // twins were compared with what was acknowledged
	EventWarning   EventKind = "warning"   // something a reader of the figures must know
)

// Event is something that a person who watches a run wants to know. It never holds a secret.
type Event struct {
	At          time.Duration `json:"at"` // since the run began
	Kind        EventKind     `json:"kind"`
	Stage       string        `json:"stage,omitempty"`
	Text        string        `json:"text"`
	Detail      string        `json:"detail,omitempty"`
	Done, Total int           `json:"-"`
	OK          bool          `json:"ok"`
}
