package freshness

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/metrics"
)

func TestProbesNameEveryDeviceOnce(t *testing.T) {
	a, _ := audit(2000, Options{Sample: 1500})
	all := ""
	for _, q := range a.Probes(time.Second) {
		if len(q.SQL) > queries.MaxLength {
			t.Errorf("a query has %d characters; at most %d are allowed", len(q.SQL), queries.MaxLength)
		}
		all += q.SQL
	}
	for _, id := range a.IDs() {
		if n := strings.Count(all, "'"+id+"'"); n != 1 {
			t.Errorf("%s is asked for %d times; want once", id, n)
		}
	}
}

// lagged shows what it was told of a device after a while.
type lagged struct {
	lag   time.Duration
	since time.Time
	fail  error
}

func (l *lagged) Query(string, int) queries.Pager { return &laggedPager{l, true} }

type laggedPager struct {
	*lagged
	more bool
}

func (p *laggedPager) More() bool { return p.more }

func (p *laggedPager) Next(context.Context) ([]json.RawMessage, error) {
	p.more = false
	if time.Since(p.since) < p.lag {
		return nil, p.fail
	}
	return []json.RawMessage{[]byte(`{"deviceId":"dev-0","version":2}`)}, p.fail
}

// Probing measures the lag, up to the time between two probes; after the run the audit asks on until all is shown.
func TestProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rec := audit(1, Options{})
		service := &lagged{lag: 2 * time.Second, since: time.Now()}
		a.ack(0, 2, time.Now())
		probes := a.Probes(300 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a.Run(ctx, service, probes)
		if n := a.Pending(); n != 1 {
			t.Fatalf("%d wait after a second; want 1", n)
		}
		a.Settle(t.Context(), service, probes)
		x := rec.Snapshot().Find(metrics.OpFreshness, "robots")
		if got := x.Response[metrics.OK].Maximum(); x.Count(metrics.OK) != 1 || got < 2*time.Second || got > 2300*time.Millisecond {
			t.Errorf("freshness = %v; want 2s and up to 300ms", got)
		}
	})
}

// A service that throttles is left alone for as long as it asks, and what was due is counted.
func TestProbesYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rec := audit(1, Options{})
		busy := *iothub.ErrThrottled
		busy.RetryAfter = 10 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 60500*time.Millisecond)
		defer cancel()
		a.Run(ctx, &lagged{fail: &busy}, a.Probes(time.Second))
		x := rec.Snapshot().Find(metrics.OpQuery, ProbeName)
		if x.Scheduled() != 61 || x.Count(metrics.Throttled) != 7 || x.Dropped[metrics.DropOther] != 54 {
			t.Errorf("%d scheduled, %d throttled, %v dropped; want 61, 7, 54", x.Scheduled(), x.Count(metrics.Throttled), x.Dropped)
		}
	})
}
