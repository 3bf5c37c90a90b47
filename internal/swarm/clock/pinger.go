package clock

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Ask asks the other side what its clock shows.
type Ask func(ctx context.Context) (theirs time.Time, err error)

// How often is asked where PingerOptions say nothing.
const (
	DefaultAtFirst  = 8
	DefaultFirst    = 125 * time.Millisecond
	DefaultInterval = 5 * time.Second
	DefaultTimeout  = 2 * time.Second
)

// PingerOptions say how a Pinger asks. Zero values mean the defaults.
type PingerOptions struct {
	Options
	Clock    Clock          // ours; time.Now when nil
	AtFirst  int            // how many answers are asked for quickly, at the beginning and after a step; 8 when 0
	First    time.Duration  // from one of them to the next; 125 ms when 0
	Interval time.Duration  // from one to the next later on; 5 s when 0
	Timeout  time.Duration  // how long an answer is waited for; 2 s when 0
	Told     func(Estimate) // is told of each new estimate, by the Pinger's goroutine; may be nil
}

func (o PingerOptions) withDefaults() PingerOptions {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.AtFirst <= 0 {
		o.AtFirst = DefaultAtFirst
	}
	if o.First <= 0 {
		o.First = DefaultFirst
	}
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return o
}

// Pinger asks another clock over and over, and knows how far it is from ours.
type Pinger struct {
	ask Ask
	o   PingerOptions

	mu      sync.Mutex
	window  *Window
	failed  error // why the last question has no answer; nil when it has one
	missing int   // how many questions had none
}

// NewPinger makes a Pinger, which asks once Run is called.
func NewPinger(ask Ask, o PingerOptions) *Pinger {
	o = o.withDefaults()
	return &Pinger{ask: ask, o: o, window: NewWindow(o.Options)}
}

// Run asks until ctx ends, and returns when the last question is over. The caller has a goroutine for it.
func (p *Pinger) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for quick := p.o.AtFirst; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		answered, step := p.once(ctx)
		if step {
			quick = p.o.AtFirst
		}
		if answered {
			quick--
		}
		wait := p.o.Interval
		if quick > 0 {
			wait = p.o.First
		}
		timer.Reset(wait)
	}
}

// once asks once, and reports whether there was an answer, and whether it tells that a clock was set.
func (p *Pinger) once(ctx context.Context) (answered, step bool) {
	within, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	s := Sample{Sent: p.o.Clock()}
	var err error
	s.Theirs, err = p.ask(within)
	s.Received = p.o.Clock()
	if ctx.Err() != nil {
		return false, false
	}
	p.mu.Lock()
	if err != nil {
		p.failed = fmt.Errorf("asking the other clock: %w", err)
		p.missing++
		p.mu.Unlock()
		return false, false
	}
	p.failed = nil
	before := p.window.steps
	p.window.Add(s)
	step = p.window.steps > before
	e := p.window.Estimate(s.Received)
	p.mu.Unlock()
	if p.o.Told != nil {
		p.o.Told(e)
	}
	return true, step
}

// Estimate is what is known now.
func (p *Pinger) Estimate() Estimate {
	now := p.o.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.window.Estimate(now)
}

// Missing is how many questions had no answer, and why the last question had none; nil when it had one.
func (p *Pinger) Missing() (n int, last error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missing, p.failed
}
