package status

import (
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
)

func TestOutcome(t *testing.T) {
	for status, want := range map[int]metrics.Outcome{
		200: metrics.OK, 202: metrics.OK, 204: metrics.OK, 400: metrics.Failed, 401: metrics.Refused, 403: metrics.Refused, 404: metrics.Failed,
		412: metrics.Failed, 429: metrics.Throttled, 500: metrics.Failed, 503: metrics.Failed,
	} {
		if got := Outcome(status); got != want {
			t.Errorf("%d: %v; want %v", status, got, want)
		}
	}
}
