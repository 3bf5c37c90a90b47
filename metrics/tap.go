package metrics

import "time"

// Ended is one operation that has ended, or some that were dropped, as Options.Tap is told of it.
type Ended struct {
	Operation Operation // which
	Group     string    // of devices, or the name of a query; empty for what is of neither
	Stage     string    // in which it was intended, and counts; empty before the first and after the last
	Intended  time.Time // when the schedule wanted it to start
	Sent      time.Time // when it really started; zero for what was dropped
	Done      time.Time // when it ended; zero for what was dropped
	Late      bool      // it started more than Options.LateAfter after its intended time
	Outcome   Outcome   // how it ended; of no meaning for what was dropped
	Reason    string    // why it ended badly, as the errors are counted, or was dropped, one of DropReasons; empty for what ended well
	Dropped   uint64    // so many were due and never started; 0 for one that ended
}

// tap tells of an operation that has ended.
func (o Started) tap(done time.Time, outcome Outcome, reason string) {
	if outcome == OK {
		reason = ""
	}
	s := o.series
	s.rec.opts.Tap(Ended{
		Operation: s.operation, Group: s.group, Stage: o.cell.stage, Intended: o.Intended, Sent: o.Sent, Done: done,
		Late: o.Sent.Sub(o.Intended) > s.rec.opts.LateAfter, Outcome: outcome, Reason: reason,
	})
}
