package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/verdict"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
)

// sampleEvery is how often the run checks its own figures: progress, outages, thresholds that abort.
const sampleEvery = time.Second

// lostEvery is how often the run polls for devices that lost their connections.
const lostEvery = 100 * time.Millisecond

// monitor watches a run's own figures.
type monitor struct {
	*conductor

	told   bool // that answers are waited for
	known  int  // samples since what is known of generator and devices was written down
	doubts doubts
	turns  turns
}

// run samples the Recorder once a second until its context ends, then once more; outages it
// polls for more often. After the last stage it tells of the wait for the last answers alone. It returns the last figures
// that it told of.
func (m *monitor) run(ctx context.Context, last *metrics.Snapshot) *metrics.Snapshot {
	poll, tick := time.NewTicker(lostEvery), time.NewTicker(sampleEvery)
	defer poll.Stop()
	defer tick.Stop()
	for drained := m.drain.began; ; {
		select {
		case <-poll.C:
			if drained != nil {
				m.outages.Poll()
			}
			continue
		case <-tick.C:
		case <-drained:
			last = m.leave(last)
			drained = nil
			continue
		case <-ctx.Done():
			if drained != nil { // there was no wait
				return m.leave(last)
			}
			last = m.sample(last)
			m.measured(m.generator.Wait(m.connections()))
			return last
		}
		if drained != nil {
			if now := m.rec.Snapshot(); m.drain.figures() == nil { // else devices may be stopped in them
				last = m.judge(now, last)
			}
			continue
		}
		last = m.sample(last)
		m.measured(m.generator.Wait(m.connections()))
		m.tellOfDrain(last)
	}
}

// leave samples the rest of the last stage, and leaves it.
func (m *monitor) leave(last *metrics.Snapshot) *metrics.Snapshot {
	now := m.judge(m.drain.figures(), last)
	m.ledger.Enter("", time.Now())
	return now
}

// judge judges what came since the last figures, and returns the new ones.
func (m *monitor) judge(now, last *metrics.Snapshot) *metrics.Snapshot {
	m.outages.Poll()
	m.measured(m.generator.Sample(now, m.connections()))
	missed := m.bounds.Sample(now)
	m.tell(now, last)
	m.abortOn(missed)
	return now
}

// sample tells of what came since the last figures, and returns the new ones.
func (m *monitor) sample(last *metrics.Snapshot) *metrics.Snapshot {
	now := m.rec.Snapshot()
	m.tell(now, last)
	return now
}

// tell tells of what came since the last figures.
func (m *monitor) tell(now, last *metrics.Snapshot) {
	waiting, left := 0, time.Duration(0)
	if stage, _ := m.ledger.Stage(); stage == "" {
		waiting, left = m.drain.waiting(m.sc, now)
	}
	standing := m.stand(now)
	m.standing.Store(standing)
	for _, e := range m.turns.of(standing.Thresholds) {
		m.ledger.Tell(e)
	}
	m.write()
	m.ledger.Sample(report.Sample{Window: now.Sub(last), Total: now, Waiting: waiting, Left: left, Standing: standing})
}

// writeEvery is after how many samples it is written down what the generator did and what became of devices.
const writeEvery = 10

// write writes down, now and then, what else is only known in the end: a run that is killed has no end.
func (m *monitor) write() {
	if m.known++; m.known%writeEvery != 0 {
		return
	}
	health := m.generator.Health()
	m.ledger.Write(func(r *report.Run) { r.Generator = health })
	m.noteAgents()
	m.noteReach()
	m.noteDeliveries()
}

// agents are what is known of those who run the devices; none when this process does.
func (e *Engine) agents() []report.Agent {
	if e.opts.Agents == nil {
		return nil
	}
	return e.opts.Agents.Figures()
}

// noteAgents writes down what is known of the agents.
func (e *Engine) noteAgents() {
	if all := e.agents(); all != nil {
		e.ledger.Write(func(r *report.Run) { r.Agents = all })
	}
}

// abortOn ends the run when a threshold that aborts it has been missed.
func (m *monitor) abortOn(missed []threshold.Verdict) {
	for _, v := range missed {
		m.ledger.Tell(report.Event{Kind: report.KindThreshold, Text: "ending the run, a threshold was missed", Detail: v.Threshold + ": " + v.Observed})
		m.stop(fmt.Errorf("%w: %s", verdict.ErrAborted, v.Threshold))
	}
}
