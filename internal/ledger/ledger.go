// Package ledger keeps the record of a run while it goes on, and tells of it: whoever learns something writes it here, and
// until all of them have ended nobody else writes the record or tells an Observer.
package ledger

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// Ledger is the record of a run, its clock, and those who watch. The zero value is one of a run that has not begun.
type Ledger struct {
	observers observers

	mu    sync.Mutex // protects the following fields
	run   report.Run
	start time.Time // zero before the run
	stage string    // that runs; empty before the first and after the last
	from  time.Duration
	began int // stages that have begun

	changed bool      // since those who watch were told of the record
	toldAt  time.Time // when they were
}

// Observe adds those who watch, before Begin.
func (l *Ledger) Observe(who ...report.Observer) {
	l.observers.all = append(l.observers.all, who...)
	for _, one := range who {
		_, follows := one.(report.Follower)
		l.observers.follows = l.observers.follows || follows
	}
}

// Begin begins the record at a time, with what is known of the run. The error is that of an Observer.
func (l *Ledger) Begin(at time.Time, r report.Run) error {
	l.mu.Lock()
	l.start, l.run, l.changed = at, r, false
	l.mu.Unlock()
	return l.observers.begin(&l.run)
}

// End tells of the verdict, after which nothing is told any more.
func (l *Ledger) End() { l.observers.end(&l.run) }

// Write changes the record. The change must not block, and keeps nothing of what it is given.
func (l *Ledger) Write(change func(r *report.Run)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.run)
	l.changed = true
}

// knownEvery is how often those who watch are told of a record that changes all the time.
const knownEvery = time.Second

// known is a copy of the record for those who were not told of its last changes; nil when there are none, or when they were told just now.
func (l *Ledger) known() *report.Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed || time.Since(l.toldAt) < knownEvery {
		return nil
	}
	b, err := json.Marshal(&l.run)
	r := &report.Run{}
	if err != nil || json.Unmarshal(b, r) != nil {
		return nil // what JSON does not hold: the end of the record says so
	}
	l.changed, l.toldAt = false, time.Now()
	return r
}

// follow tells of what has become known, before something else is told.
func (l *Ledger) follow() {
	if !l.observers.follows { // a copy of the record is dear
		return
	}
	if r := l.known(); r != nil {
		l.observers.known(r)
	}
}

// Note adds a line of what a reader must know.
func (l *Ledger) Note(format string, a ...any) {
	l.Write(func(r *report.Run) { r.Notes = append(r.Notes, fmt.Sprintf(format, a...)) })
}

// Whole is the record once all have ended who write it.
func (l *Ledger) Whole() *report.Run { return &l.run }

// Tell tells of what happened just now, in the stage that runs unless the event names one.
func (l *Ledger) Tell(e report.Event) {
	e.At = l.Since()
	if e.Stage == "" {
		e.Stage, _ = l.Stage()
	}
	l.follow()
	l.observers.event(e)
}

// Warn tells of something that a reader of the figures must know, now and in the record.
func (l *Ledger) Warn(text string, err error) {
	l.Tell(report.Event{Kind: report.KindWarning, Text: text, Detail: err.Error()})
	l.Note("%s: %v", text, err)
}

// Sample tells of a sample, whose time and stage it fills in.
func (l *Ledger) Sample(s report.Sample) {
	s.Window.Stage, _ = l.Stage() // also of the rest of the last one
	s.At = l.Since()
	if s.Standing != nil {
		s.Judged = report.JudgedOf(s.Standing.Thresholds)
	}
	l.follow()
	l.observers.sample(s)
}

// Began is when the run did; the zero time before it.
func (l *Ledger) Began() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start
}

// Since is how long the run lasts; 0 before it.
func (l *Ledger) Since() time.Duration {
	if start := l.Began(); !start.IsZero() {
		return time.Since(start)
	}
	return 0
}

// Enter says which stage has begun, and when. It gives that time since the run began. With an empty name the last is over.
func (l *Ledger) Enter(stage string, at time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stage, l.from = stage, at.Sub(l.start)
	if stage != "" {
		l.began++
	}
	l.toldAt = time.Time{} // a stage begins with all that is known
	return l.from
}

// Stages is how many stages have begun, whether the last of them runs, and for how long it does.
func (l *Ledger) Stages() (began int, running bool, into time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage == "" {
		return l.began, false, 0
	}
	return l.began, true, time.Since(l.start) - l.from
}

// Stage is the stage that runs, and when it began.
func (l *Ledger) Stage() (name string, from time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stage, l.from
}
