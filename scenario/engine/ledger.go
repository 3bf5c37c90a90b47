package engine

import (
	"fmt"
	"sync"

	"github.com/twinfleet/twinfleet/report"
)

// ledger is the record of a run. Whoever learns something writes it here, one at a time.
type ledger struct {
	mu  sync.Mutex // protects the following field
	run report.Run
}

// write changes the record. The change must not block, and keeps nothing of what it is given.
func (l *ledger) write(change func(r *report.Run)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.run)
}

// note adds a line of what a reader must know.
func (l *ledger) note(format string, a ...any) {
	l.write(func(r *report.Run) { r.Notes = append(r.Notes, fmt.Sprintf(format, a...)) })
}

// whole is the record while nobody writes: before anything was started, and once everything has ended.
func (l *ledger) whole() *report.Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &l.run
}
