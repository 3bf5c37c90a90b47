package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
)

// sampleEvery is how often the run looks at its own figures: progress, outages, thresholds that abort.
const sampleEvery = time.Second

// Progress is what a person who watches a run sees once a second.
type Progress struct {
	At       time.Duration     // since the run began
	Stage    string            // the stage that runs
	Total    *metrics.Snapshot // since the run began
	Interval *metrics.Snapshot // since the last progress
}

// monitor samples the Recorder once a second until its context ends, then once more.
func (e *Engine) monitor(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	last := e.rec.Snapshot()
	for {
		over := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			over = true
		}
		now := e.rec.Snapshot()
		e.sample(now, now.Sub(last))
		last = now
		if over {
			return
		}
	}
}

func (e *Engine) sample(total, interval *metrics.Snapshot) {
	at := e.since()
	connected, lost := total.DevicesIn("connected"), total.DevicesIn("backoff")
	wasOpen := e.outages.open
	e.outages.add(at, connected, lost)
	switch {
	case !wasOpen && e.outages.open:
		e.emit(Event{Kind: EventOutage, Text: "devices lost their connections", Detail: fmt.Sprintf("%s of %s are gone",
			report.Count(int64(lost)), report.Count(int64(connected+lost)))})
	case wasOpen && !e.outages.open:
		o := e.outages.found[len(e.outages.found)-1]
		e.emit(Event{Kind: EventOutage, OK: true, Text: "devices are back", Detail: "99 % after " + report.Duration(o.To-o.From)})
	}
	if e.opts.Progress != nil {
		e.opts.Progress(Progress{At: at, Stage: e.currentStage(), Total: total, Interval: interval})
	}
}
