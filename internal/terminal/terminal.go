// Package terminal shows a run to who started it, while it goes on: drawn in place on a terminal, as plain
// lines elsewhere, and as JSON, one object a line, for programs.
package terminal

import (
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// MinWidth is the least width in columns that the drawn view takes; narrower terminals get plain lines.
const MinWidth = 60

// Plan is what is known of a run before it begins.
type Plan struct {
	Name        string  // of the scenario
	Description string  // one line; may be empty
	Stages      []Stage // in their order
	Groups      []Group // in the order of the scenario
	Links       []Link  // what a person may open while the run goes on
}

// Stage is a stage to come. A duration of 0 is one that nobody knows: it ends with its last step.
type Stage struct {
	Name     string        // as the scenario has it
	Duration time.Duration // 0 when the stage ends with its last step
}

// Group is devices that share a profile.
type Group struct {
	Name  string // as the scenario has it
	Count int    // devices
}

// Link is an address that a person may open: of the page, of the metrics.
type Link struct {
	Name    string `json:"name"`    // what is there
	Address string `json:"address"` // a URL
}

// spectator is the part of a report.Observer that a terminal has no use for: what is planned it knows before the run begins,
// and the summary is for who closes it.
type spectator struct{}

func (spectator) Begin(*report.Run) error { return nil }
func (spectator) End(*report.Run) error   { return nil }
