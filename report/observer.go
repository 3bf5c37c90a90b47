package report

import "time"

// Observer is somebody who watches a run: a terminal, a page, a record on disk. Begin is called before anything else happens,
// End once all is over; between them events and samples, one call at a time. All must be quick: what is measured waits.
type Observer interface {
	// Begin is given the record as far as it is known; the Observer keeps nothing of it. Its error fails the run, before
	// anything was started.
	Begin(r *Run) error
	// Event is told what happened. There is no secret in it, and no control character.
	Event(e Event)
	// Sample is told the figures, once a second and once more at the end.
	Sample(s Sample)
	// End is given the whole record with its verdict. A run that an Observer could not end has not passed.
	End(r *Run) error
}

// Follower is an Observer that is also told what becomes known of a run while it goes on: whoever keeps a record has it when the run
// is killed.
type Follower interface {
	Observer
	// Known is given the record as it is known so far, after it has changed and before what is told next, at most once a second. Its Totals
	// are what came before the first Sample. It belongs to the one who is told.
	Known(r *Run)
}

// Kind says what an Event is about.
type Kind string

// The kinds of events, in the order in which a run meets them.
const (
	KindTarget    Kind = "target"    // the target is open; Detail is its name
	KindProvision Kind = "provision" // identities made or removed so far: Done of Total
	KindTagging   Kind = "tagging"   // devices tagged so far: Done of Total
	KindStage     Kind = "stage"     // a stage began; Text is its name, Done its number, Total how many there are
	KindStep      Kind = "step"      // a step ended; OK says whether it did what was expected
	KindOutage    Kind = "outage"    // devices lost their connections, or came back
	KindThreshold Kind = "threshold" // a threshold is missed, holds once more, or ends the run
	KindStopping  Kind = "stopping"  // the run winds down
	KindDrain     Kind = "drain"     // answers that are waited for after the last stage: Done is how many
	KindRollout   Kind = "rollout"   // a rollout began, or a wave of it ended; OK says that it goes on
	KindJob       Kind = "job"       // the state of a job has changed
	KindVerified  Kind = "verified"  // twins were compared with what was acknowledged: so far, Done of Total
	KindPaused    Kind = "paused"    // somebody paused the load by hand
	KindResumed   Kind = "resumed"   // somebody let it go on
	KindChanged   Kind = "changed"   // somebody changed the load by hand, or ended a stage early
	KindWarning   Kind = "warning"   // something a reader of the figures must know
)

// Event is something that a person who watches a run, or reads about it, wants to know.
type Event struct {
	At     time.Duration `json:"at"`               // since the run began
	Kind   Kind          `json:"kind"`             // what it is about
	Stage  string        `json:"stage,omitempty"`  // that ran; empty before the first and after the last
	Text   string        `json:"text"`             // what happened, in a few words
	Detail string        `json:"detail,omitempty"` // what there is to know beside it
	OK     bool          `json:"ok"`               // it is no bad news
	Done   int           `json:"-"`                // see Kind; records do not keep it
	Total  int           `json:"-"`                // see Kind
}

// ByHand reports whether the event takes a run its pass: somebody did something to its load.
func (e *Event) ByHand() bool { return e.Kind == KindPaused || e.Kind == KindChanged }

// Counting reports whether the event is one of a count that still goes up: it is for those who wait, and is not recorded.
func (e *Event) Counting() bool { return e.Kind != KindStage && e.Done < e.Total }

// Funcs is an Observer made of functions. Those that are nil do nothing.
type Funcs struct {
	OnBegin  func(r *Run) error // for Observer.Begin
	OnEvent  func(e Event)      // for Observer.Event
	OnSample func(s Sample)     // for Observer.Sample
	OnEnd    func(r *Run) error // for Observer.End
}

var _ Observer = Funcs{}

// Begin implements Observer.
func (f Funcs) Begin(r *Run) error {
	if f.OnBegin == nil {
		return nil
	}
	return f.OnBegin(r)
}

// Event implements Observer.
func (f Funcs) Event(e Event) {
	if f.OnEvent != nil {
		f.OnEvent(e)
	}
}

// Sample implements Observer.
func (f Funcs) Sample(s Sample) {
	if f.OnSample != nil {
		f.OnSample(s)
	}
}

// End implements Observer.
func (f Funcs) End(r *Run) error {
	if f.OnEnd == nil {
		return nil
	}
	return f.OnEnd(r)
}
