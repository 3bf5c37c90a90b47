package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// drain is the wait, after the last stage, for the answers to what was sent. Every operation has its own time-out.
type drain struct {
	mu     sync.Mutex // protects the following fields
	cancel context.CancelFunc
	cut    bool
	told   int       // how often the monitor has looked
	from   time.Time // when it began; zero before
	began  chan struct{}
}

// drainTellEvery is how many seconds apart a watcher is told of the wait.
const drainTellEvery = 5

// begin says what ends the wait at once.
func (d *drain) begin(cancel context.CancelFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel, d.from = cancel, time.Now()
	close(d.began)
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

// end says that the wait is over, and whether somebody ended it.
func (d *drain) end() (cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel = nil
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
		g := sc.Group(x.Group)
		if known = known && g != nil && x.Operation != metrics.OpFreshness; known {
			longest = max(longest, g.Timeout)
		}
	}
	if !known {
		return open, 0
	}
	return open, max(0, longest-time.Since(from))
}

// tellOfDrain says, every few seconds, how many answers are still waited for.
func (e *Engine) tellOfDrain(now *metrics.Snapshot) {
	e.drain.told++
	if e.drain.told%drainTellEvery != 1 {
		return
	}
	if open, _ := e.drain.waiting(e.sc, now); open > 0 {
		e.emit(Event{Kind: EventDrain, OK: true, Text: "waiting for answers", Detail: fmt.Sprintf("%s operations have none yet; Ctrl-C ends the wait", report.Count(int64(open))), Done: open})
	}
}

// splitByStage gives each stage that ran the account of what was intended in it.
func (e *Engine) splitByStage() {
	stages := e.rec.Stages()
	e.record.write(func(r *report.Run) {
		n := 0
		for _, s := range stages {
			if s.Stage != "" && n < len(r.Stages) {
				r.Stages[n].Totals = s
				n++
			}
		}
	})
}
