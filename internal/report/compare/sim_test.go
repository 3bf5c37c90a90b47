package compare_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/report/compare"
)

func TestSim(t *testing.T) {
	runs := 60
	for _, x := range []struct {
		name string
		w    world
	}{
		{"weathered", weathered}, {"networked", networked}, {"local", local},
	} {
		for _, seconds := range []int{5, 30} {
			w := x.w
			w.seconds = seconds
			began := time.Now()
			if seconds == 5 {
				runs = 300
			} else {
				runs = 60
			}
			wrong, told := 0, 0
			bad := map[string]int{}
			unsure := map[string]int{}
			var found [3]int
			for n := range uint64(runs) {
				a := w.run(2 * n)
				c := compare.Compare(a, w.run(2*n+1), compare.Options{})
				if len(c.Regressions()) > 0 {
					wrong++
					for _, r := range c.Regressions() {
						bad[r.Operation+" "+r.Figure]++
					}
				}
				if c.Answer() == compare.NothingWorse {
					told++
				}
				for _, r := range c.Unsure() {
					unsure[r.Operation+" "+r.Figure]++
				}
				for i, f := range []float64{1.3, 2, 10} {
					s := w
					s.work, s.network = time.Duration(f*float64(s.work)), time.Duration(f*float64(s.network))
					if compare.Compare(a, s.run(2*n+1), compare.Options{}).Answer() == compare.SomethingWorse {
						found[i]++
					}
				}
			}
			t.Logf("%s %d s: wrong %d told %d found %v of %d; %v; bad %v; %s", x.name, seconds, wrong, told, found, runs, unsure, bad, time.Since(began))
		}
	}
}
