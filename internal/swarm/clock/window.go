package clock

import "time"

// Defaults of Options.
const (
	DefaultKept  = 64
	DefaultDrift = 200e-6
)

// Options of a Window. Zero values mean the defaults.
type Options struct {
	// Kept is how many answers are kept, the latest ones; 64 when 0.
	Kept int
	// Drift is by how much the two clocks may go apart: parts of one; 200e-6 when 0, as quartzes go wrong by some 100 parts of a million each.
	// What goes apart faster, such as a clock that NTP is slewing by up to 500 (RFC 5905, section 11.3), is taken for a step once it shows.
	Drift float64
}

// Window is the latest answers. The zero value is ready. It is not for several goroutines at once.
type Window struct {
	o       Options
	samples []Sample // by time, the latest last
	steps   int
}

// NewWindow makes a Window.
func NewWindow(o Options) *Window { return &Window{o: o} }

func (w *Window) kept() int {
	if w.o.Kept <= 0 {
		return DefaultKept
	}
	return w.o.Kept
}

func (w *Window) drift() float64 {
	if w.o.Drift <= 0 {
		return DefaultDrift
	}
	return w.o.Drift
}

// Add adds an answer. When it cannot be true together with those before, one of the clocks was set meanwhile: they count no more, and the
// step is counted. An answer that came before it was asked for tells of such a step, and nothing else: it is left out.
func (w *Window) Add(s Sample) {
	if s.Received.Before(s.Sent) {
		w.steps++
		w.samples = nil
		return
	}
	for _, old := range w.samples {
		apart := (s.offset() - old.offset()).Abs()
		if s.Sent.Before(old.Sent) || apart > s.within()+old.within()+drifted(w.drift(), s.Received.Sub(old.Sent)) {
			w.steps++
			w.samples = nil
			break
		}
	}
	if len(w.samples) >= w.kept() {
		w.samples = append(w.samples[:0], w.samples[len(w.samples)-w.kept()+1:]...)
	}
	w.samples = append(w.samples, s)
}

// Estimate is the best that the answers say at a time of ours.
func (w *Window) Estimate(now time.Time) Estimate {
	e := Estimate{Drift: w.drift(), Samples: len(w.samples), Steps: w.steps, At: now}
	for i, s := range w.samples {
		within := s.within() + drifted(w.drift(), now.Sub(s.Sent).Abs())
		if i == 0 || within < e.Uncertainty {
			e.Offset, e.Uncertainty = s.offset(), within
		}
	}
	return e
}
