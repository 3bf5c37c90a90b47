package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
)

// sampleEvery is how often the run looks at its own figures: progress, outages, thresholds that abort.
const sampleEvery = time.Second

// Progress is what a person who watches a run sees once a second.
type Progress struct {
	At       time.Duration     // since the run began
	Stage    string            // the stage that runs; empty before the first and after the last
	Total    *metrics.Snapshot // since the run began
	Interval *metrics.Snapshot // since the last progress
	Waiting  int               // after the last stage: operations whose answers are waited for
	Left     time.Duration     // how long that takes at most; 0 when it is not known
}

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
				e.lookForOutage()
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
			e.measureWait()
			return last
		}
		if drained != nil {
			last = e.sample(last)
			continue
		}
		last, _ = e.progress(last)
		e.measureWait()
		e.tellOfDrain(last)
	}
}

// leave samples the rest of the last stage, and leaves it.
func (e *Engine) leave(last *metrics.Snapshot) *metrics.Snapshot {
	now := e.sample(last)
	e.enter("", time.Now())
	return now
}

// sample judges what came since the last figures, and returns the new ones.
func (e *Engine) sample(last *metrics.Snapshot) *metrics.Snapshot {
	e.lookForOutage()
	now, _ := e.progress(last)
	e.measure(now, false, "")
	e.abortOn(e.bounds.Sample(now))
	return now
}

// progress tells of what came since the last figures, and returns the new ones and what came.
func (e *Engine) progress(last *metrics.Snapshot) (now, interval *metrics.Snapshot) {
	now = e.rec.Snapshot()
	interval = now.Sub(last)
	p := Progress{At: e.since(), Stage: e.currentStage(), Total: now, Interval: interval}
	interval.Stage = p.Stage // also of the rest of the last one
	if p.Stage == "" {
		p.Waiting, p.Left = e.drain.waiting(e.sc, now)
	}
	if e.opts.Progress != nil {
		e.opts.Progress(p)
	}
	return now, interval
}

// lookForOutage tells of outages as they begin and end.
func (e *Engine) lookForOutage() {
	e.watching.Lock()
	defer e.watching.Unlock()
	e.findOutage()
}

// findOutage looks how the devices are connected now. The caller holds the lock.
func (e *Engine) findOutage() {
	connected, lost := e.fleet.Counts()[fleet.StateConnected], e.fleet.Lost()
	wasOpen := e.outages.open
	at := e.since()
	e.outages.add(look{at: at, connected: connected, lost: lost, losses: e.fleet.Losses(), returns: e.fleet.Returns(), left: e.fleet.Left(), since: max(e.looked, e.stageBegan())})
	e.looked = at
	switch {
	case !wasOpen && e.outages.open:
		from := e.began().Add(e.outages.now.From)
		e.recovery = e.rec.Series(metrics.OpRecovery, "").Start(from, from)
		e.emit(Event{Kind: EventOutage, Text: "devices lost their connections", Detail: fmt.Sprintf("%s of %s are gone",
			report.Count(int64(lost)), report.Count(int64(connected+lost)))})
	case wasOpen && !e.outages.open:
		o := e.outages.found[len(e.outages.found)-1]
		if !o.Recovered {
			text := o.Stopped()
			e.recovery.EndBecause(e.began().Add(o.To), metrics.Unanswered, text)
			e.recovery = metrics.Started{}
			e.emit(Event{Kind: EventOutage, Text: "nobody is left to come back", Detail: text})
			return
		}
		e.recovery.End(e.began().Add(o.To), metrics.OK)
		e.recovery = metrics.Started{}
		e.emit(Event{Kind: EventOutage, OK: true, Text: "devices are back", Detail: fmt.Sprintf("%s connections were lost; 99 %% were back after %s",
			report.Count(int64(o.Total)), report.Duration(o.To-o.From))})
	}
}

// abortOn ends the run when a threshold that aborts it has been missed.
func (e *Engine) abortOn(missed []metrics.Verdict) {
	for _, v := range missed {
		e.emit(Event{Kind: EventThreshold, Text: "ending the run, a threshold was missed", Detail: v.Threshold + ": " + v.Observed})
		e.stop(fmt.Errorf("%w: %s", ErrAborted, v.Threshold))
	}
}
