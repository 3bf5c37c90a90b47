package phantom_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/phantom"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
)

// A device that a query shows, that is none of the run's and has no twin, does not exist; while it is shown on.
func TestPhantoms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := func(id string) bool { return id == "dev-0" || id == "dev-1" }
		search := phantom.Search{Recorder: metrics.NewRecorder(metrics.Options{}), Tolerance: time.Second, Known: known}
		for _, id := range []string{"dev-1", "other", "phantom", "deleted", "", "phantom"} {
			search.Note(id, "all")
		}
		service := &workertest.Rows{ByID: map[string]string{"phantom": `{"deviceId":"phantom"}`, "other": `{"deviceId":"other"}`}}
		began := time.Now()
		got := search.Find(t.Context(), service, workertest.Twins{"other": "{}", "dev-0": "{}"})
		if len(got) != 1 || got[0] != (phantom.Device{"phantom", "all"}) || time.Since(began) != time.Second {
			t.Errorf("phantoms = %+v after %v; want one, after the tolerance", got, time.Since(began))
		}
		if then := search.Find(t.Context(), service, workertest.Twins{}); then != nil {
			t.Errorf("then %+v; want none", then)
		}
	})
}
