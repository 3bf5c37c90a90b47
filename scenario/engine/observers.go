package engine

import (
	"slices"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/report"
)

// Observe adds somebody who watches the run. It is called before Run.
func (e *Engine) Observe(who ...report.Observer) {
	e.observers.all = append(slices.Clone(e.observers.all), who...)
}

// observers are told of a run one thing at a time, in order. Who tells while another does leaves it to that one: an Observer
// may so use the Engine that it watches. Much of it is the target's words: it is cleaned before anybody sees it.
type observers struct {
	all   []report.Observer
	begun int // those whose Begin was called without an error

	mu      sync.Mutex // protects the following fields
	queue   []func(report.Observer)
	telling bool
	over    bool          // nothing is told any more
	quiet   chan struct{} // closed when nobody tells and it is over
}

func (o *observers) begin(r *report.Run) error {
	report.CleanAll(r)
	for _, who := range o.all {
		if err := who.Begin(r); err != nil {
			return err
		}
		o.begun++
	}
	return nil
}

func (o *observers) event(e report.Event) {
	e.Text, e.Detail = report.Clean(e.Text), report.Clean(e.Detail)
	o.tell(func(who report.Observer) { who.Event(e) })
}

func (o *observers) sample(s report.Sample) {
	o.tell(func(who report.Observer) { who.Sample(s) })
}

func (o *observers) tell(what func(report.Observer)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	o.queue = append(o.queue, what)
	if o.telling {
		return
	}
	o.telling = true
	for len(o.queue) > 0 {
		next := o.queue[0]
		o.queue = o.queue[1:]
		o.mu.Unlock()
		for _, who := range o.all[:o.begun] {
			next(who)
		}
		o.mu.Lock()
	}
	o.telling = false
	if o.over {
		close(o.quiet)
	}
}

// silence ends the telling, and waits for what is being told.
func (o *observers) silence() {
	o.mu.Lock()
	o.over, o.quiet = true, make(chan struct{})
	if !o.telling {
		close(o.quiet)
	}
	o.mu.Unlock()
	<-o.quiet
}

// end tells of the verdict. One who cannot end takes a pass away, for those who come after; who did not begin does not end.
func (o *observers) end(r *report.Run) {
	o.silence()
	r.Reason = oneLine(r.Reason) // of errors that came together
	report.CleanAll(r)
	for _, who := range o.all[:o.begun] {
		err := who.End(r)
		switch {
		case err == nil:
		case r.Outcome == report.Passed:
			r.Outcome, r.Reason = report.Failed, oneLine(err.Error())
		default:
			r.Notes = append(r.Notes, oneLine(err.Error()))
		}
	}
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }
