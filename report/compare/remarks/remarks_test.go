package remarks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare/remarks"
)

func ExampleOf() {
	before := &report.History{Whole: true, Run: &report.Run{Name: "connectivity", Devices: 3000, Version: "1.2.0", Outcome: report.Passed}}
	after := &report.History{Whole: true, Run: &report.Run{Name: "connectivity", Devices: 500, Version: "1.3.0", Outcome: report.Passed}}
	r := remarks.Of(before, after, [2]string{})
	fmt.Println(strings.Join(r.Doubts, "\n"))
	fmt.Println(strings.Join(r.Notes, "\n"))
	// Output:
	// the fleets differ in size: 3,000 and 500 devices
	// the versions differ: 1.2.0 and 1.3.0
}

// What a record that was cut does not know is no difference.
func TestUnknownIsNoDifference(t *testing.T) {
	whole := &report.History{Whole: true, Run: &report.Run{Name: "connectivity", Devices: 3000, Target: "embedded hub", Outcome: report.Passed}}
	cut := &report.History{Samples: make([]report.Sample, 1), Run: &report.Run{Name: "connectivity"}}
	r := remarks.Of(whole, cut, [2]string{"name: connectivity", ""})
	if len(r.Doubts) != 1 || !strings.Contains(r.Doubts[0], "the record of the second run is cut") || len(r.Notes)+len(r.Unfit) != 0 {
		t.Errorf("%+v; want that the second is cut, and no more", r)
	}
}

func TestNotAsAsked(t *testing.T) {
	good := &report.Run{}
	late := &report.Run{Generator: &report.Health{Stages: []report.StageHealth{{Name: "ramp", What: "late"}, {Name: "hold", AsAsked: true}}}}
	if got, want := remarks.NotAsAsked(good, late, "ramp"), "in the second run the load was not as asked, in stage ramp: late: "; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	if got := remarks.NotAsAsked(late, good, "hold"); got != "" {
		t.Errorf("of a stage that was as asked: %q", got)
	}
}
