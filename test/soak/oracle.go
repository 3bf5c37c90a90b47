package soak

import (
	"slices"
	"time"
)

// truth is what the wire knows of one kind of operation. What came close to the time-out, or just before its connection
// ended, may have been seen by the device or not: it is between the bounds.
type truth struct {
	sent          int
	okLeast       int // answered well, and surely in time
	okMost        int // answered well, perhaps too late
	failedLeast   int // surely not answered well
	times         []time.Duration
	openTimes     []time.Duration // of those without an answer: the least that they took
	throttledMost int
}

// close is how near to a bound the oracle does not decide: sockets, goroutines and a busy machine lie between.
const closeCall = 300 * time.Millisecond

// judge sums up what the wire saw, of devices that wait for answers for a time.
func (w *wire) judge(timeout time.Duration) map[string]*truth {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[string]*truth)
	for _, s := range w.all {
		t := all[s.op]
		if t == nil {
			t = new(truth)
			all[s.op] = t
		}
		t.sent++
		took := s.end.Sub(s.at)
		good := !s.cut && !s.end.IsZero() && s.status < 300 && (s.op != "connect" || s.status == 0)
		switch {
		case good && took < timeout-closeCall:
			t.okLeast++
			t.okMost++
			t.times = append(t.times, took)
		case good && took < timeout+closeCall:
			t.okMost++
			t.times = append(t.times, took)
		case s.cut:
			t.failedLeast++
			t.times = append(t.times, min(took, timeout))
		default:
			t.failedLeast++
			if s.status == 429 || (s.op == "connect" && s.status == 3) {
				t.throttledMost++
			}
			t.openTimes = append(t.openTimes, timeout)
		}
	}
	return all
}

// quantile is the value below which a share of the times lies, with what had no answer at its time-out.
func (t *truth) quantile(q float64) time.Duration {
	all := slices.Concat(t.times, t.openTimes)
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all), max(1, int(q*float64(len(all))+0.5)))-1]
}
