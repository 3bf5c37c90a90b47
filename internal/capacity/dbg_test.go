package capacity_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

func TestDbg(t *testing.T) {
	if os.Getenv("DBG") == "" {
		t.Skip()
	}
	text := strings.Replace(fmt.Sprintf(limited, 1, "connect"), "reported: {connectivity: {type: cellular}}, ", "", 1)
	base, err := trial.NewBase(loader(text), trial.ConnectRate, trial.Options{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		tr, err := base.Make(80, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(string(tr.Scenario.Source))
		_, _ = base.Run(t.Context(), tr, func(o engine.Options) trial.Engine {
			o.Observers = append(o.Observers, report.Funcs{OnSample: func(s report.Sample) {
				fmt.Printf("%v %s conn %d/%d/%d ", s.At, s.Window.Stage, s.Window.DevicesIn("connected"), s.Window.DevicesIn("connecting"), s.Window.DevicesIn("backoff"))
				for i := range s.Window.Series {
					x := &s.Window.Series[i]
					if x.Scheduled() > 0 || x.Ended() > 0 {
						fmt.Printf("| %s sch %d ok %d thr %d err %d mean %v ", x.Operation, x.Scheduled(), x.Response[0].Count, x.Count(metrics.Throttled), x.Errors(), x.Latency(false).Mean())
					}
				}
				fmt.Println()
			}})
			return start(o)
		}, 0)
	})
}
