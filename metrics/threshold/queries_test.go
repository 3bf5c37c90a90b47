package threshold

import (
	"errors"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
)

func TestQueryChecks(t *testing.T) {
	r := metrics.NewRecorder(metrics.Options{})
	r.QueryResult("a", 10, 1)
	for i := range 20 {
		r.QueryExpectation("a", i > 0)
	}
	r.QueryRows("a", metrics.RowOK, 90)
	r.QueryRows("a", metrics.RowMissing, 2)
	r.QueryRows("a", metrics.RowExtra, 3)
	before := r.Snapshot()
	r.QueryRows("a", metrics.RowStale, 5)
	r.QueryRows("a", metrics.RowUnjudged, 100)
	r.QueryExpectation("a", false)
	r.QueryExpectation("b", true)
	s := r.Snapshot()
	for _, tt := range []struct {
		selector, expr string
		pass, noData   bool
		observed       string
	}{
		{"query{name=a}", "correct_rate > 89%", true, false, "correct_rate = 90% (90 of 100)"},
		{"query", "correct_rate >= 91%", false, false, "correct_rate = 90% (90 of 100)"},
		{"query{name=a}", "expected_rate >= 90%", true, false, "expected_rate = 90.5% (19 of 21)"},
		{"query", "expected_rate > 95%", false, false, "expected_rate = 90.9% (20 of 22)"},
		{"query{name=b}", "correct_rate > 0%", false, true, "no data"},
		{"query{name=c}", "expected_rate > 0%", false, true, "no data"},
	} {
		threshold, err := Parse(tt.selector, tt.expr)
		if err != nil {
			t.Error(err)
			continue
		}
		if v := threshold.Evaluate(s); v.Pass != tt.pass || v.NoData != tt.noData || v.Observed != tt.observed {
			t.Errorf("%s = %+v; want pass %v, no data %v, %s", threshold, v, tt.pass, tt.noData, tt.observed)
		}
	}
	if q, _ := s.Sub(before).Query("a"); q.Met != 0 || q.Unmet != 1 || q.Rows != (metrics.RowCounts{Stale: 5, Unjudged: 100}) {
		t.Errorf("the window has %+v; want what came in it", q)
	}
	for selector, expr := range map[string]string{"twin_report": "correct_rate > 99%", "query": "expected_rate > 99", "query{name=a}": "correct_rate > 101%"} {
		if _, err := Parse(selector, expr); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %s: %v; want %v", selector, expr, err, ErrInvalid)
		}
	}
}
