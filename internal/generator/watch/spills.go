package watch

import (
	"sync"

	"github.com/twinfleet/twinfleet/metrics"
)

// spills knows what of a stage starts in the next one: a load that was not delivered in time is on top of what the next stage
// asks for, and its figures are not those of the load that was asked for either.
type spills struct {
	mu     sync.Mutex // protects the following fields
	last   string
	before map[string]spill // by the stage that follows
}

// spill is a stage, and how many of its operations had started when it ended.
type spill struct {
	stage   string
	started uint64
}

// begin notes that a stage begins, which the Recorder knows already. With an empty name the last one is over.
func (s *spills) begin(rec *metrics.Recorder, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.before == nil {
		s.before = make(map[string]spill)
	}
	if s.last != "" && name != "" {
		s.before[name] = spill{s.last, startedOf(rec, s.last)}
	}
	s.last = name
}

// into is the stage before another, and how many of its operations started after it was over.
func (s *spills) into(rec *metrics.Recorder, name string) (before string, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.before[name]
	if !ok {
		return "", 0
	}
	return x.stage, startedOf(rec, x.stage) - x.started
}

func startedOf(rec *metrics.Recorder, stage string) (n uint64) {
	s := rec.StageSnapshot(stage)
	if s == nil {
		return 0
	}
	for i := range s.Series {
		n += s.Series[i].Started()
	}
	return n
}
