// Package demand is what the parts of a scenario ask of its target, stage by stage.
package demand

import (
	"iter"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/internal/planning/walk"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Part is the stage that is asked about.
type Part struct {
	*span.Span
	Walk *walk.Walk // what devices do, one by one; nil when means must do
}

// Demand is what one part of a scenario asks of the target in one stage.
type Demand struct {
	Operation metrics.Operation // "" for what is metered and measured as something else
	Group     string            // of devices, or a query's name
	Total     float64           // operations in the stage
	Peak      float64           // operations in the busiest second; 0 when not on a schedule
	PeakFor   time.Duration     // how long the busiest second goes on
	Rises     bool              // it changes evenly over the stage: the busiest second is one end of it, no burst
	Requests  float64           // that the target counts for one operation, at most: a query's pages; 1 when 0
	Bytes     int               // of one operation as the target meters it; below 0 is free
	Page      int               // bytes of a full page, where Bytes come in pages that are metered each; 0 where not
	Copies    int               // how often one is metered; once when 0
	Devices   float64           // that the target counts for all of them, where one is about several; Total when 0
	Finds     bool              // Bytes and Requests are what a query finds at most; at least it counts once
	Free      bool              // no limit of the target counts it
	Paused    bool              // it becomes due in a pause and is dropped
	About     bool              // Total is an estimate
	Stage     int               // its number; -1 before the first one
}

// Units are what limits and meters count.
func (d *Demand) Units() float64 {
	if d.Devices > 0 {
		return d.Devices
	}
	return d.Total
}

// RequestsEach is how many requests the target counts for one operation, at most.
func (d *Demand) RequestsEach() float64 { return max(1, d.Requests) }

// Messages is how many messages all of them count for.
func (d *Demand) Messages(l tier.Limits) float64 {
	return d.Units() * float64(l.Paged(d.Bytes, d.Page)*int64(max(1, d.Copies)))
}

// Contributor is one part of the language: what it asks for in a stage. To plan a new key, add one.
type Contributor func(sc *scenario.Scenario, s *Part) []Demand

// TwinBytes is what a twin with a few tags and reported properties is metered for, as devices and queries read it.
const TwinBytes = 1100

// Rated are operations that a stage asks of the whole fleet.
func Rated(r *scenario.Range, s *Part) Demand {
	if r == nil {
		return Demand{}
	}
	curve := r.Over(s.Duration)
	d := Demand{Total: float64(curve.Events(s.Duration)), Peak: curve.Most(0, s.Duration), PeakFor: s.Duration}
	switch {
	case r.Shape != nil:
		d.PeakFor = span.Busy(curve, curve.Integral, d.Peak)
	case r.From != r.To:
		d.PeakFor, d.Rises = span.Second, true
	}
	return d
}

// Drawn counts operations whose times are drawn by chance.
func Drawn(d Demand, s *Part, times iter.Seq[time.Duration]) Demand {
	if s.Arrivals != "poisson" || d.Peak == 0 || s.Endless {
		return d
	}
	if d.About = s.Walk == nil; !d.About { // by means, it is as many as without chance
		d.Total = 0
		for range times {
			d.Total++
		}
	}
	return d
}

// Present is the share of its time that a group's active device is connected.
func Present(g *scenario.Group) float64 {
	if g.Online.IsZero() {
		return 1
	}
	on, off := g.Online.Mean().Seconds(), g.Offline.Mean().Seconds()
	return on / (on + off)
}

// During reports whether something that is bound to stages goes on in one; without names it always does.
func During(stages []string, s *Part) bool {
	return len(stages) == 0 || slices.Contains(stages, s.Name)
}
