package outage

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/ledger"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Fleet is how the devices of a run are connected now.
type Fleet struct {
	Connected int            // devices that have a connection
	Lost      int            // devices that have lost a connection and are not yet back
	Losses    int            // connections lost so far
	Returns   int            // devices that came back so far
	Left      int            // devices stopped so far while they were gone
	Reasons   map[string]int // connections lost so far by reason, those that were lost before they were of use too; as of the moment of Losses, or a little before
	Active    int            // devices that are started and not scaled away; 0 when that is not known
}

// held is Fleet without devices that are counted twice: Connected is read a little before Lost, and who is lost in between is in both.
func (f Fleet) held() Fleet {
	if f.Active > 0 {
		f.Connected = max(0, min(f.Connected, f.Active-f.Lost))
	}
	return f
}

// Watch tells of outages as they begin and end, and measures the recovery from each as an operation. It is safe for
// concurrent use.
type Watch struct {
	Ledger   *ledger.Ledger    // where outages are told and written
	Recorder *metrics.Recorder // where recoveries are measured
	Fleet    func() Fleet      // how the devices are connected now

	mu        sync.Mutex // protects the following fields
	finder    finder
	recovery  metrics.Started // of the outage that is open
	last      time.Duration   // of the last poll
	calm      map[string]int  // connections that were lost until the last poll, by reason
	before    map[string]int  // until the outage that was found last
	explained int             // connections lost in it of which a reason was known when it was last told
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
	f := w.Fleet().held()
	wasOpen, tail := w.finder.open, w.finder.tail
	at := w.Ledger.Since()
	_, from := w.Ledger.Stage()
	w.finder.add(state{at: at, connected: f.Connected, lost: f.Lost, losses: f.Losses, returns: f.Returns, left: f.Left, since: max(w.last, from)})
	w.last = at
	if !wasOpen && w.finder.open {
		w.before, w.explained = w.calm, 0
	}
	told := w.explain(f.Reasons)
	w.calm = f.Reasons
	switch {
	case !wasOpen && w.finder.open:
		began := w.Ledger.Began().Add(w.finder.now.From)
		w.recovery = w.Recorder.Series(metrics.OpRecovery, "").Start(began, began)
		detail := gone(f)
		if why := w.finder.now.Why; why != "" {
			detail += "; " + why
		}
		w.Ledger.Tell(report.Event{Kind: report.KindOutage, Text: "devices lost their connections", Detail: detail})
		w.write()
	case wasOpen && !w.finder.open:
		w.over(&w.finder.found[len(w.finder.found)-1])
		w.write()
	case !w.finder.open && tail && !w.finder.tail, told: // the last of them is back, or more is known of why
		w.write()
	}
}

// explain notes why most connections were lost in the outage that is open, or in the last one, and reports whether that is new: reasons may
// be known a little later than losses.
func (w *Watch) explain(lost map[string]int) bool {
	o := &w.finder.now
	if !w.finder.open {
		if len(w.finder.found) == 0 {
			return false
		}
		o = &w.finder.found[len(w.finder.found)-1]
	}
	if !w.finder.open && w.explained >= o.Total { // what is lost since then is none of it
		return false
	}
	why, known := mainReason(w.before, lost, o.Total)
	w.explained = known
	if why == o.Why {
		return false
	}
	o.Why = why
	return true
}

// mainReason is why most of so many connections were lost that were lost between two counts, and of how many a reason is known.
func mainReason(before, after map[string]int, total int) (why string, known int) {
	most := 0
	for _, reason := range slices.Sorted(maps.Keys(after)) {
		n := after[reason] - before[reason]
		if known += n; n > most {
			why, most = reason, n
		}
	}
	if total = max(total, known); most > 0 && most < total {
		why = fmt.Sprintf("%s of them: %s", human.Count(most), why)
	}
	return why, known
}

// gone is how many devices are gone when an outage begins, of those that were connected.
func gone(f Fleet) string {
	verb := "are"
	if f.Lost == 1 {
		verb = "is"
	}
	return fmt.Sprintf("%s of %s %s gone", human.Count(f.Lost), human.Count(f.Connected+f.Lost), verb)
}

// write writes down the outages so far: a run that is killed has no end.
func (w *Watch) write() {
	found := slices.Clone(w.finder.found)
	if w.finder.open {
		found = append(found, w.finder.now)
	}
	for i := range found {
		found[i].Returns = slices.Clone(found[i].Returns)
	}
	w.Ledger.Write(func(r *report.Run) { r.Outages = found })
}

// over tells of an outage that has ended.
func (w *Watch) over(o *report.Outage) {
	at := w.Ledger.Began().Add(o.To)
	if o.Recovered {
		w.recovery.End(at, metrics.OK)
		w.Ledger.Tell(report.Event{
			Kind: report.KindOutage, OK: true, Text: "devices are back",
			Detail: fmt.Sprintf("%s lost; 99 %% were back after %s", wereLost(o.Total), human.Duration(o.To-o.From)),
		})
	} else {
		text := o.Stopped()
		w.recovery.EndBecause(at, metrics.Unanswered, text)
		w.Ledger.Tell(report.Event{Kind: report.KindOutage, Text: "nobody is left to come back", Detail: text})
	}
	w.recovery = metrics.Started{}
}

func wereLost(connections int) string {
	if connections == 1 {
		return "1 connection was"
	}
	return human.Number(connections, "connection") + " were"
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
