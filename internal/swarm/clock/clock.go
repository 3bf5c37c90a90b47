// Package clock compares two clocks by asking one for its time over a network: how far they are apart, and how far that may be wrong.
//
// One answer says: when the other clock showed theirs, ours was somewhere between sent and received. Whatever share of the round trip each
// way took, their offset is that of the middle, to within half of the round trip. So the answer with the shortest round trip says the
// most; an older one says less by what clocks drift apart meanwhile.
package clock

import (
	"fmt"
	"time"
)

// Clock tells the time; time.Now is one.
type Clock func() time.Time

// Shifted is a clock that shows another time, for tests: ahead of the clock that it follows by so much at a time of that one, and faster by so
// many parts of a million all along.
func Shifted(follows Clock, ahead time.Duration, ppm float64, from time.Time) Clock {
	return func() time.Time {
		now := follows()
		return now.Add(ahead + time.Duration(float64(now.Sub(from))*ppm*1e-6))
	}
}

// Sample is one answer.
type Sample struct {
	Sent     time.Time // ours, when the question went
	Theirs   time.Time // what the answer says
	Received time.Time // ours, when the answer came
}

// offset is theirs less ours, as if both ways took as long.
func (s Sample) offset() time.Duration {
	return s.Theirs.Round(0).Sub(s.middle()) // without the monotonic clock, which is the process's own
}

// middle is between question and answer, by our clock.
func (s Sample) middle() time.Time { return s.Sent.Add(s.Received.Sub(s.Sent) / 2) }

// within is by how much offset may be wrong when the answer has come: half of the round trip, whichever way was the longer one. A nanosecond
// more is for halves.
func (s Sample) within() time.Duration { return s.Received.Sub(s.Sent)/2 + 1 }

// Estimate is what is known of another clock. The zero value is that nothing is: see Known.
type Estimate struct {
	Offset      time.Duration `json:"offset"`      // theirs less ours
	Uncertainty time.Duration `json:"uncertainty"` // by which Offset may be wrong at the time of At; it grows with Drift since
	Drift       float64       `json:"drift"`       // by how much two clocks may go apart: parts of one
	Samples     int           `json:"samples"`     // answers of which it is the best
	Steps       int           `json:"steps"`       // how often either clock was set, as far as was noticed
	At          time.Time     `json:"at"`          // ours, when it was made
}

// Known reports whether there was an answer.
func (e Estimate) Known() bool { return e.Samples > 0 }

// Ours is what our clock showed at a time of theirs.
func (e Estimate) Ours(theirs time.Time) time.Time { return theirs.Add(-e.Offset) }

// Theirs is what their clock showed at a time of ours.
func (e Estimate) Theirs(ours time.Time) time.Time { return ours.Add(e.Offset) }

// Within is by how much Ours and Theirs may be wrong at a time of ours.
func (e Estimate) Within(ours time.Time) time.Duration {
	return e.Uncertainty + drifted(e.Drift, ours.Sub(e.At).Abs())
}

// String is the offset with its uncertainty: "+1.234s ± 210µs".
func (e Estimate) String() string {
	if !e.Known() {
		return "not known"
	}
	sign := ""
	if e.Offset >= 0 {
		sign = "+"
	}
	return fmt.Sprintf("%s%v ± %v", sign, e.Offset.Round(time.Microsecond), max(time.Microsecond, e.Uncertainty.Round(time.Microsecond)))
}

// drifted is how far clocks go apart in a time.
func drifted(drift float64, over time.Duration) time.Duration {
	return time.Duration(drift * float64(over))
}
