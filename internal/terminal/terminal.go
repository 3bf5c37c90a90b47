// Package terminal shows a run to who started it, while it goes on: drawn in place on a terminal, as plain
// lines elsewhere, and as JSON, one object a line, for programs.
package terminal

import (
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/metrics"
)

// MinWidth is the least width in columns that the drawn view takes; narrower terminals get plain lines.
const MinWidth = 60

// Plan is what is known of a run before it begins.
type Plan struct {
	Name        string
	Description string
	Stages      []Stage
	Groups      []Group
	Links       []Link
}

// Stage is a stage to come. A duration of 0 is one that nobody knows: it ends with its last step.
type Stage struct {
	Name     string
	Duration time.Duration
}

// Group is devices that share a profile.
type Group struct {
	Name  string
	Count int
}

// Link is an address that a person may open: of the page, of the metrics.
type Link struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Event is something that happened. Done of Total is a count that goes up, or the number of a stage.
type Event struct {
	report.Event
	Done, Total int
}

// The kinds of events that are shown in a way of their own. All others are shown as they are.
const (
	kindTarget    = "target"
	kindProvision = "provision"
	kindTagging   = "tagging"
	kindStage     = "stage"
	kindStep      = "step"
	kindStopping  = "stopping"
	kindDrain     = "drain"
	kindWarning   = "warning"
)

// Progress is the figures of a run once a second.
type Progress struct {
	At       time.Duration // since the run began
	Stage    string
	Total    *metrics.Snapshot // since the run began
	Interval *metrics.Snapshot // since the last progress
	Waiting  int               // after the last stage: operations whose answers are waited for
	Left     time.Duration     // how long that takes at most; 0 when it is not known
}
