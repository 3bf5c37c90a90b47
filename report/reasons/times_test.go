package reasons_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report/reasons"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// When a reason was met first is known to a second, by stage; when it was met last, exactly.
func TestWithTimes(t *testing.T) {
	h := reporttest.Example(20)
	parts := reasons.Parts(h.Run)
	timed := reasons.WithTimes(h)
	if len(timed) != len(parts) || len(timed) == 0 {
		t.Fatalf("%d reasons with times of %d", len(timed), len(parts))
	}
	for i, x := range timed {
		if x.Part != parts[i] {
			t.Errorf("%v became %v", parts[i], x.Part)
		}
		stage := h.Run.Stages[0]
		if x.Stage == "hold" {
			stage = h.Run.Stages[1]
		}
		if x.First < stage.From || x.First > x.Last || x.Last > stage.To+3*time.Second {
			t.Errorf("%s of stage %s, %s to %s, was met from %s to %s", x.Text(), stage.Name, stage.From, stage.To, x.First, x.Last)
		}
	}
	h.Samples = nil
	for _, x := range reasons.WithTimes(h) {
		if x.First >= 0 {
			t.Errorf("without samples, %s was met first at %s", x.Text(), x.First)
		}
	}
}
