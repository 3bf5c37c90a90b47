package findings_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

func TestGaps(t *testing.T) {
	h := reporttest.Example(20)
	if gaps := findings.Gaps(h); len(gaps) != 0 {
		t.Errorf("a run with a sample a second has gaps: %v", gaps)
	}
	h.Samples = append(h.Samples[:5:5], h.Samples[12:]...)
	if gaps := findings.Gaps(h); len(gaps) != 1 || gaps[0] != (findings.Gap{From: 5 * time.Second, To: 13 * time.Second}) {
		t.Errorf("%v", gaps)
	}
	if gaps := findings.Gaps(&report.History{}); len(gaps) != 0 {
		t.Errorf("a run without samples: %v", gaps)
	}
}
