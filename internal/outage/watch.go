package outage

import (
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/ledger"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Fleet is how the devices of a run are connected now.
type Fleet struct {
	Connected int // devices that have a connection
	Lost      int // devices that have lost a connection and are not yet back
	Losses    int // connections lost so far
	Returns   int // devices that came back so far
	Left      int // devices stopped so far while they were gone
}

// Watch tells of outages as they begin and end, and measures the recovery from each as an operation. It is safe for
// concurrent use.
type Watch struct {
	Ledger   *ledger.Ledger    // where outages are told and written
	Recorder *metrics.Recorder // where recoveries are measured
	Fleet    func() Fleet      // how the devices are connected now

	mu       sync.Mutex // protects the following fields
	finder   finder
	recovery metrics.Started // of the outage that is open
	last     time.Duration   // of the last poll
}

// Poll reads how the devices are connected now. It is called often: an outage has begun since the last time, or since the
// stage did.
func (w *Watch) Poll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.poll()
}

// poll is Poll. The caller holds the lock.
func (w *Watch) poll() {
	f := w.Fleet()
	wasOpen := w.finder.open
	at := w.Ledger.Since()
	_, from := w.Ledger.Stage()
	w.finder.add(state{at: at, connected: f.Connected, lost: f.Lost, losses: f.Losses, returns: f.Returns, left: f.Left, since: max(w.last, from)})
	w.last = at
	switch {
	case !wasOpen && w.finder.open:
		began := w.Ledger.Began().Add(w.finder.now.From)
		w.recovery = w.Recorder.Series(metrics.OpRecovery, "").Start(began, began)
		w.Ledger.Tell(report.Event{Kind: report.KindOutage, Text: "devices lost their connections", Detail: fmt.Sprintf("%s of %s are gone",
			human.Count(f.Lost), human.Count(f.Connected+f.Lost))})
	case wasOpen && !w.finder.open:
		w.over(&w.finder.found[len(w.finder.found)-1])
	}
}

// over tells of an outage that has ended.
func (w *Watch) over(o *report.Outage) {
	at := w.Ledger.Began().Add(o.To)
	if o.Recovered {
		w.recovery.End(at, metrics.OK)
		w.Ledger.Tell(report.Event{
			Kind: report.KindOutage, OK: true, Text: "devices are back",
			Detail: fmt.Sprintf("%s connections were lost; 99 %% were back after %s",
				human.Count(o.Total), human.Duration(o.To-o.From)),
		})
	} else {
		text := o.Stopped()
		w.recovery.EndBecause(at, metrics.Unanswered, text)
		w.Ledger.Tell(report.Event{Kind: report.KindOutage, Text: "nobody is left to come back", Detail: text})
	}
	w.recovery = metrics.Started{}
}

// End polls once more when the last stage is over, closes what is open, and records all: devices that are stopped do not come
// back, though their states say so. It is called before they stop, and nothing counts after it.
func (w *Watch) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.poll()
	at := w.Ledger.Since()
	found := w.finder.end(at)
	w.Ledger.Write(func(r *report.Run) { r.Outages = found })
	w.recovery.EndBecause(w.Ledger.Began().Add(at), metrics.Unanswered, "99 % of the devices were not back when the last stage ended")
	w.recovery = metrics.Started{}
}
