// Package runstate keeps what those who watch a run show of it: what is planned, and the state that events and figures make.
package runstate

import (
	"time"

	"github.com/twinfleet/twinfleet/report"
)

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

// Spectator is the part of a report.Observer that a terminal has no use for: what is planned it knows before the run begins,
// and the summary is for who closes it.
type Spectator struct{}

// Begin does nothing.
func (Spectator) Begin(*report.Run) error { return nil }

// End does nothing.
func (Spectator) End(*report.Run) error { return nil }

// CountEvery is how often lines tell of a count that goes up.
const CountEvery = time.Second
