package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/outage"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// sampleEvery is how often the run looks at its own figures: progress, outages, thresholds that abort.
const sampleEvery = time.Second

// lookEvery is how often the run looks for devices that lost their connections.
const lookEvery = 100 * time.Millisecond

// monitor samples the Recorder once a second until its context ends, then once more; outages it
// looks for more often. After the last stage it tells of the wait for the last answers alone. It returns the last figures
// that it told of.
func (e *Engine) monitor(ctx context.Context, last *metrics.Snapshot) *metrics.Snapshot {
	look, tick := time.NewTicker(lookEvery), time.NewTicker(sampleEvery)
	defer look.Stop()
	defer tick.Stop()
	for drained := e.drain.began; ; {
		select {
		case <-look.C:
			if drained != nil {
				e.watchOutages()
			}
			continue
		case <-tick.C:
		case <-drained:
			last = e.leave(last)
			drained = nil
			continue
		case <-ctx.Done():
			if drained != nil { // there was no wait
				return e.leave(last)
			}
			last, _ = e.progress(last)
			e.measured(e.generator.Wait(e.connections()))
			return last
		}
		if drained != nil {
			last = e.sample(last)
			continue
		}
		last, _ = e.progress(last)
		e.measured(e.generator.Wait(e.connections()))
		e.tellOfDrain(last)
	}
}

// leave samples the rest of the last stage, and leaves it.
func (e *Engine) leave(last *metrics.Snapshot) *metrics.Snapshot {
	now := e.sample(last)
	e.outages.End()
	e.ledger.Enter("", time.Now())
	return now
}

// sample judges what came since the last figures, and returns the new ones.
func (e *Engine) sample(last *metrics.Snapshot) *metrics.Snapshot {
	e.watchOutages()
	now, _ := e.progress(last)
	e.measured(e.generator.Sample(now, e.connections()))
	e.abortOn(e.bounds.Sample(now))
	return now
}

// progress tells of what came since the last figures, and returns the new ones and what came.
func (e *Engine) progress(last *metrics.Snapshot) (now, interval *metrics.Snapshot) {
	now = e.rec.Snapshot()
	interval = now.Sub(last)
	waiting, left := 0, time.Duration(0)
	if stage, _ := e.ledger.Stage(); stage == "" {
		waiting, left = e.drain.waiting(e.sc, now)
	}
	e.ledger.Sample(interval, now, waiting, left)
	return now, interval
}

// watchOutages tells of outages as they begin and end.
func (e *Engine) watchOutages() {
	f := e.fleet
	e.outages.Look(outage.Fleet{
		Connected: f.Counts()[fleet.StateConnected], Lost: f.Lost(), Losses: f.Losses(), Returns: f.Returns(), Left: f.Left(),
	})
}

// abortOn ends the run when a threshold that aborts it has been missed.
func (e *Engine) abortOn(missed []metrics.Verdict) {
	for _, v := range missed {
		e.ledger.Tell(report.Event{Kind: report.KindThreshold, Text: "ending the run, a threshold was missed", Detail: v.Threshold + ": " + v.Observed})
		e.stop(fmt.Errorf("%w: %s", ErrAborted, v.Threshold))
	}
}
