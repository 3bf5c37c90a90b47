package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
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
	e.endOutages()
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
	interval.Stage = e.currentStage() // also of the rest of the last one
	x := report.Sample{At: e.since(), Window: interval, Total: now}
	if interval.Stage == "" {
		x.Waiting, x.Left = e.drain.waiting(e.sc, now)
	}
	e.observers.sample(x)
	return now, interval
}

// lookForOutage tells of outages as they begin and end.
func (e *Engine) lookForOutage() {
	connected, lost := e.fleet.Counts()[fleet.StateConnected], e.fleet.Lost()
	wasOpen := e.outages.open
	at := e.since()
	e.outages.add(look{at: at, connected: connected, lost: lost, losses: e.fleet.Losses(), returns: e.fleet.Returns(), left: e.fleet.Left(), since: max(e.looked, e.stageBegan())})
	e.looked = at
	switch {
	case !wasOpen && e.outages.open:
		from := e.began().Add(e.outages.now.From)
		e.recovery = e.rec.Series(metrics.OpRecovery, "").Start(from, from)
		e.emit(report.Event{Kind: report.KindOutage, Text: "devices lost their connections", Detail: fmt.Sprintf("%s of %s are gone",
			report.Count(int64(lost)), report.Count(int64(connected+lost)))})
	case wasOpen && !e.outages.open:
		o := e.outages.found[len(e.outages.found)-1]
		if !o.Recovered {
			text := o.Stopped()
			e.recovery.EndBecause(e.began().Add(o.To), metrics.Unanswered, text)
			e.recovery = metrics.Started{}
			e.emit(report.Event{Kind: report.KindOutage, Text: "nobody is left to come back", Detail: text})
			return
		}
		e.recovery.End(e.began().Add(o.To), metrics.OK)
		e.recovery = metrics.Started{}
		e.emit(report.Event{Kind: report.KindOutage, OK: true, Text: "devices are back", Detail: fmt.Sprintf("%s connections were lost; 99 %% were back after %s",
			report.Count(int64(o.Total)), report.Duration(o.To-o.From))})
	}
}

// abortOn ends the run when a threshold that aborts it has been missed.
func (e *Engine) abortOn(missed []metrics.Verdict) {
	for _, v := range missed {
		e.emit(report.Event{Kind: report.KindThreshold, Text: "ending the run, a threshold was missed", Detail: v.Threshold + ": " + v.Observed})
		e.stop(fmt.Errorf("%w: %s", ErrAborted, v.Threshold))
	}
}
