package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/report/human"
)

const (
	// unannounced is how long before the planned end of a stage an agent goes by the plan that nobody has told what follows: who leads tells it a
	// second before, and would tell the same.
	unannounced = 250 * time.Millisecond
	// soonGone is after how long of silence a stage whose steps may take longer than it does ends at its planned end without a word.
	soonGone = 2 * time.Second
)

// alone goes on without a coordinator's word, by the plan, and decides when it has been gone for as long as the run says.
func (w *work) alone(hard context.Context, leaving chan struct{}) {
	silent := w.silent()
	gone := silent > w.ask.Patient
	if w.runner == nil || w.left {
		return
	}
	w.tellOfSilence(silent)
	w.goOn(silent)
	p := w.runner.Place()
	switch {
	case !gone:
	case w.ask.OnLoss == protocol.Stop && !p.Over:
		x := &protocol.Stopped{At: w.told(time.Now()), Why: fmt.Sprintf("nothing was heard of the coordinator for %s", human.Duration(w.ask.Patient))}
		w.stopped.Store(x)
		w.agent.log.Warn("the devices leave, as the run is to stop without a coordinator", "run", w.session.id, "why", x.Why)
		w.leave(hard, leaving)
	case p.Over, p.Stage < 0 && !p.Told: // nothing is to come, or nobody is there to begin it
		w.leave(hard, leaving)
	}
}

// tellOfSilence says once that nothing is heard of the coordinator, and that it is heard once more. It says that it is there four times a second.
func (w *work) tellOfSilence(silent time.Duration) {
	switch deaf := silent > soonGone; {
	case deaf && !w.deaf:
		w.deaf = true
		w.agent.log.Warn("nothing is heard of the coordinator; the devices go on by the plan", "run", w.session.id, "then", w.ask.OnLoss, "after", w.ask.Patient)
	case !deaf && w.deaf:
		w.deaf = false
		w.agent.log.Warn("the coordinator is heard once more", "run", w.session.id)
	}
}

// goOn has the next stage begin when the one that runs is planned to end, or all be over after the last.
func (w *work) goOn(silent time.Duration) {
	r := w.runner
	p := r.Place()
	if p.Stage < 0 || p.Told || p.Over {
		return
	}
	t := &w.sc.Stages[p.Stage]
	end := p.Began.Add(t.Duration)
	switch {
	case t.Duration == 0: // it ends with steps that nobody takes any more, and nobody knows when
		if silent > w.ask.Patient {
			r.End(time.Now())
		}
	case time.Until(end) > unannounced, len(t.Steps) > 0 && silent < soonGone:
	case p.Stage+1 < len(w.sc.Stages):
		r.Stage(p.Stage+1, end)
	default:
		r.End(end)
	}
}
