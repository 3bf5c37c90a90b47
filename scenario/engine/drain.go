package engine

import (
	"context"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// drain is the wait, after the last stage, for the answers to what was sent. Every operation has its own time-out.
type drain struct {
	mu     sync.Mutex // protects the following fields
	cancel context.CancelFunc
	cut    bool
	from   time.Time         // when it began; zero before
	last   *metrics.Snapshot // before it; see figures
	began  chan struct{}
}

// begin says what ends the wait at once. Devices are stopped after it: the figures as it begins are the last with all of them.
func (d *drain) begin(cancel context.CancelFunc, figures func() *metrics.Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel, d.from, d.last = cancel, time.Now(), figures()
	close(d.began)
}

// figures are the last before the wait; nil before it began: all that were taken until then are of the stages.
func (d *drain) figures() *metrics.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// stop ends the wait; it is false when nothing waits.
func (d *drain) stop() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel == nil {
		return false
	}
	d.cancel()
	d.cut = true
	return true
}

// end says that the wait is over.
func (d *drain) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel = nil
}

// cutShort reports whether somebody ended the wait.
func (d *drain) cutShort() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut
}

// waiting is how many operations have no answer yet, after the last stage, and how long it takes at most until all that
// devices asked have an answer or are past their time-out; 0 when others are open too. Before the wait all is 0.
func (d *drain) waiting(sc *scenario.Scenario, now *metrics.Snapshot) (open int, left time.Duration) {
	d.mu.Lock()
	from := d.from
	d.mu.Unlock()
	if from.IsZero() {
		return 0, 0
	}
	known, longest := true, time.Duration(0)
	for i := range now.Series {
		x := &now.Series[i]
		n := int(x.InFlight())
		if n == 0 {
			continue
		}
		open += n
		patience := patienceOf(sc, x)
		known = known && patience > 0
		longest = max(longest, patience)
	}
	if !known {
		return open, 0
	}
	return open, max(0, longest-time.Since(from))
}

// patienceOf is how long an operation is waited for; 0 when that is not known here.
func patienceOf(sc *scenario.Scenario, x *metrics.SeriesSnapshot) time.Duration {
	switch {
	case x.Operation == metrics.OpQuery:
		if q := sc.Query(x.Group); q != nil {
			return q.Timeout
		}
	case x.Operation.OfDevices() && x.Operation != metrics.OpDelivery: // a message that is not delivered ends with the run
		g := sc.Group(metrics.GroupOf(x.Group))
		switch {
		case g == nil:
		case g.Overflow == "wait": // what waits for its turn is started for as long as that
			return 2 * g.Timeout
		default:
			return g.Timeout
		}
	}
	return 0
}

// tellOfDrain says once how many answers are waited for. The progress goes on to say it.
func (m *monitor) tellOfDrain(now *metrics.Snapshot) {
	if open, _ := m.drain.waiting(m.sc, now); open > 0 && !m.told {
		m.told = true
		m.ledger.Tell(report.Event{
			Kind: report.KindDrain, OK: true, Text: "waiting for answers", Done: open,
			Detail: human.Number(open, "operation") + " without an answer; Ctrl-C ends the wait",
		})
	}
}
