package ledger

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/twinfleet/twinfleet/report"
)

// One who watches and cannot end takes a pass away, and leaves every other outcome what it is; who follows is told so.
func TestObserverThatCannotEnd(t *testing.T) {
	for outcome, want := range map[report.Outcome]report.Outcome{
		report.Passed: report.Failed, report.Missed: report.Missed, report.Saturated: report.Saturated, report.Interrupted: report.Interrupted,
		report.Failed: report.Failed,
	} {
		var told report.Outcome
		o := observers{all: []report.Observer{
			report.Funcs{OnEnd: func(*report.Run) error { return errors.Join(errors.New("the disk"), errors.New("is full")) }},
			report.Funcs{OnEnd: func(r *report.Run) error { told = r.Outcome; return nil }},
		}}
		r := &report.Run{Outcome: outcome, Reason: "two\nlines"}
		if err := o.begin(r); err != nil {
			t.Fatal(err)
		}
		o.end(r)
		if r.Outcome != want || told != want || !strings.Contains(r.Reason+strings.Join(r.Notes, ""), "the disk; is full") {
			t.Errorf("%s became %s (%s, told %s): %q", outcome, r.Outcome, r.Reason, told, r.Notes)
		}
	}
}

// An error at the beginning fails the run before anything was started, and only who began is told of the end.
func TestObserverThatCannotBegin(t *testing.T) {
	var ended []string
	who := func(name string, err error) report.Observer {
		return report.Funcs{
			OnBegin: func(*report.Run) error { return err },
			OnEnd:   func(*report.Run) error { ended = append(ended, name); return nil },
		}
	}
	full := errors.New("no room")
	o := observers{all: []report.Observer{who("first", nil), who("second", full), who("third", nil)}}
	r := &report.Run{Outcome: report.Failed}
	if err := o.begin(r); !errors.Is(err, full) {
		t.Errorf("began with %v", err)
	}
	o.event(report.Event{})
	o.end(r)
	if got := strings.Join(ended, " "); got != "first" {
		t.Errorf("%s ended", got)
	}
}

// Who watches may cause what it is told of: everything is told, one at a time and in order, and nothing after the end.
func TestObserverThatCauses(t *testing.T) {
	var mu sync.Mutex
	var seen []int
	var o observers
	inside := 0
	o.all = []report.Observer{report.Funcs{OnEvent: func(e report.Event) {
		mu.Lock()
		defer mu.Unlock()
		inside++
		if inside != 1 {
			t.Error("two are told at once")
		}
		seen = append(seen, e.Done)
		if e.Done%2 == 0 {
			o.event(report.Event{Done: e.Done + 1})
		}
		inside--
	}}}
	r := new(report.Run)
	if err := o.begin(r); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 100 {
		all.Go(func() { o.event(report.Event{Done: 2 * n}) })
	}
	all.Wait()
	o.end(r)
	o.event(report.Event{Done: 1000})
	if len(seen) != 200 {
		t.Errorf("%d events were told", len(seen))
	}
	at := make(map[int]int)
	for i, n := range seen {
		at[n] = i
	}
	for n := 0; n < 200; n += 2 {
		if at[n+1] < at[n] {
			t.Errorf("%d was told before %d", n+1, n)
		}
	}
}

// When one who watches panics, that is what the program ends with, and it ends: no lock is in the way.
func TestObserverThatPanics(t *testing.T) {
	o := observers{all: []report.Observer{report.Funcs{OnEvent: func(report.Event) { panic("a mistake") }}}}
	if err := o.begin(&report.Run{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if got := recover(); got != "a mistake" {
			t.Errorf("panicked with %v", got)
		}
		if !o.mu.TryLock() {
			t.Error("the lock is held for good")
		}
	}()
	o.event(report.Event{})
}
