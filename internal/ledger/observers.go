package ledger

import (
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/clean"
)

// observers are told of a run one thing at a time, in order. Who tells while another does leaves it to that one: an Observer
// may so use the Engine that it watches. Much of it is the target's words: it is cleaned before anybody sees it.
type observers struct {
	all     []report.Observer // as many as began, once they have
	follows bool              // one of them is a Follower; set before they begin

	mu      sync.Mutex // protects the following fields
	queue   []func(report.Observer)
	begun   bool          // until then everything waits
	telling bool          // somebody does
	over    bool          // nothing is told any more
	quiet   chan struct{} // closed when nobody tells and it is over
}

// begin tells of the run, and of what happened before. After an error only those hear more who began before it.
func (o *observers) begin(r *report.Run) error {
	clean.All(r)
	var err error
	for i, who := range o.all {
		if err = who.Begin(r); err != nil {
			o.all = o.all[:i]
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = true
	o.tellLocked()
	return err
}

func (o *observers) event(e report.Event) {
	e.Text, e.Detail = clean.Text(e.Text), clean.Text(e.Detail)
	o.tell(func(who report.Observer) { who.Event(e) })
}

func (o *observers) known(r *report.Run) {
	clean.All(r)
	o.tell(func(who report.Observer) {
		if f, ok := who.(report.Follower); ok {
			f.Known(r)
		}
	})
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
	o.tellLocked()
}

// tellLocked tells what waits, unless somebody else does. The caller holds the lock, which is free meanwhile.
func (o *observers) tellLocked() {
	if !o.begun || o.telling {
		return
	}
	o.telling = true
	for len(o.queue) > 0 {
		next := o.queue[0]
		o.queue = o.queue[1:]
		o.unlocked(next)
	}
	o.telling = false
	if o.over {
		close(o.quiet)
	}
}

// unlocked tells one thing while the lock is free. It is held again also when an observer panics: an unlock of what is not
// locked would hide why the program ends.
func (o *observers) unlocked(what func(report.Observer)) {
	o.mu.Unlock()
	defer o.mu.Lock()
	for _, who := range o.all {
		what(who)
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
	clean.All(r)
	for _, who := range o.all {
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
