package account

import (
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Part is a part of a run, a stage or a group of devices, with its operations.
type Part struct {
	Name string // of the stage or group
	Account
	Lines []Line // its operations; none of Outside
}

// Outside is the name of the part that is in no stage: what makes the identities, what reads twins at the end.
const Outside = "outside the stages"

// Stages are the parts of a run by stage, with what was intended outside of them; none when the record does not split it, or
// when there is one part only.
func Stages(r *report.Run) []Part {
	var parts []Part
	left := OfRun(r)
	for _, t := range r.Stages {
		if t.Totals == nil {
			return nil
		}
		p := Part{t.Name, Of(ofSnapshot(t.Totals)...), Lines(t.Totals)}
		parts, left = append(parts, p), left.less(p.Account)
	}
	if len(parts) > 0 && left.Scheduled > 0 {
		parts = append(parts, Part{Name: Outside, Account: left})
	}
	if len(parts) < 2 {
		return nil
	}
	return parts
}

// Groups are the parts of a run by group of devices; none when there is one group only. What is of no group is in none.
func Groups(r *report.Run) []Part {
	names := r.GroupNames()
	if len(names) < 2 {
		return nil
	}
	var parts []Part
	for _, name := range names {
		of := &metrics.Snapshot{}
		for i := range r.Totals.Series {
			if x := r.Totals.Series[i]; metrics.InGroup(x.Group, name) && x.Operation != metrics.OpQuery {
				of.Series = append(of.Series, x)
			}
		}
		parts = append(parts, Part{name, Of(ofSnapshot(of)...), Lines(of)})
	}
	return parts
}
