package report

import (
	"fmt"
	"strings"
	"time"
)

// Act is a kind of Intervention.
type Act string

// The acts of somebody who watches a run and changes it.
const (
	ActEnded   Act = "ended"   // a stage was ended before its time
	ActPaused  Act = "paused"  // what was due was dropped for a while
	ActChanged Act = "changed" // the load is another than the scenario's, for the rest of the stage
)

// Intervention is what somebody did by hand to the load of a run. Such a run is never Passed: its load was not the scenario's.
type Intervention struct {
	At     time.Duration `json:"at"`               // since the run began
	Stage  string        `json:"stage,omitempty"`  // that ran; empty before the first
	Act    Act           `json:"act"`              // what kind of thing was done
	Detail string        `json:"detail,omitempty"` // of a change: what it is now, in words
}

// Interventions are what was done by hand in a run, in its order.
type Interventions []Intervention

// Ended are the stages that were ended before their time.
func (all Interventions) Ended() []string { return all.stages(ActEnded) }

// Changed reports whether the load was another than the scenario's for the rest of a stage.
func (all Interventions) Changed() bool { return len(all.stages(ActChanged)) > 0 }

// stages are those of an act, each once.
func (all Interventions) stages(act Act) (names []string) {
	seen := make(map[string]bool)
	for _, x := range all {
		if x.Act == act && !seen[x.Stage] {
			seen[x.Stage] = true
			names = append(names, x.Stage)
		}
	}
	return names
}

// String says in one line what was done; it is empty when nothing was.
func (all Interventions) String() string {
	var parts []string
	if names := all.stages(ActEnded); len(names) == 1 {
		parts = append(parts, "stage "+names[0]+" was ended early by hand")
	} else if len(names) > 1 {
		parts = append(parts, "stages "+strings.Join(names, ", ")+" were ended early by hand")
	}
	for _, x := range []struct {
		act  Act
		what string
	}{{ActPaused, "the load was paused by hand"}, {ActChanged, "the load was changed by hand"}} {
		if names := all.stages(x.act); len(names) > 0 {
			parts = append(parts, x.what+in(names))
		}
	}
	return strings.Join(parts, ", ")
}

// in says in which stages something was done.
func in(names []string) string {
	switch {
	case len(names) > 1:
		return fmt.Sprintf(" in %d stages, the last of them %s", len(names), names[len(names)-1])
	case names[0] == "":
		return " before the first stage"
	default:
		return " in stage " + names[0]
	}
}
