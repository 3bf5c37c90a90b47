package delivery

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// A device may hear of its new properties before the answer to the PATCH arrives: that news waits, and counts then.
func TestNewsBeforeTheAnswerToThePatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		b := New(Options{Told: rec.Series(metrics.OpDesired, "g"), Answered: rec.Series(metrics.OpDesiredReply, "g"), Timeout: time.Minute})
		wave := new(Wave)
		began := time.Now()
		d := b.Begin(4, wave, began, began)
		for range 3 * maxEarly {
			b.Told(4, 6, began) // of somebody else's change: no more than a few are kept
		}
		if len(d.early) != maxEarly {
			t.Errorf("%d news are kept; want %d", len(d.early), maxEarly)
		}
		b.Patched(d, 6)
		b.Answered(9, 6, began) // of a device that nobody has written to
		if got := b.Count(wave); got != (Wave{Patched: 1, Told: 1}) {
			t.Errorf("after the answer to the PATCH: %+v; want one patched, one told", got)
		}
		b.Answered(4, 6, began)
		b.Settle(t.Context(), nil) // returns: nothing is under way
		if got := b.Count(wave); got != (Wave{Patched: 1, Told: 1, Answered: 1}) {
			t.Errorf("at the end: %+v; want one of each", got)
		}
	})
}

func TestVersionOfAPatchedTwin(t *testing.T) {
	if v, err := Version(json.RawMessage(`{"properties":{"desired":{"firmware":"2","$version":7}}}`)); v != 7 || err != nil {
		t.Errorf("version = %d, %v; want 7", v, err)
	}
	for doc, want := range map[string]string{`{"properties":{}}`: "no $version", `[]`: "reading the patched twin"} {
		if _, err := Version(json.RawMessage(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %s: %v; want it to say %q", doc, err, want)
		}
	}
}
