package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/schedule"
	"github.com/twinfleet/twinfleet/metrics"
)

// endless is longer than any run.
const endless = 10_000 * time.Hour

// ramp is a rate that changes linearly over a length and then stays; of an unknown length it is the last from the start.
func ramp(from, to float64, length time.Duration) schedule.Curve {
	c := schedule.Curve{{Duration: endless, From: to, To: to}}
	if length > 0 {
		c = append(schedule.Curve{{Duration: length, From: from, To: to}}, c...)
	}
	return c
}

// pace calls fire when a rate wants the next operation, counted from 1, until fire or ctx says that it is enough.
func pace(ctx context.Context, begin time.Time, curve schedule.Curve, fire func(n int64, intended time.Time) (more bool)) {
	for n := int64(1); ; n++ {
		at, ok := curve.Nth(n)
		if !ok {
			return
		}
		intended := begin.Add(at)
		if ctx.Err() != nil || Pause(ctx, time.Until(intended)) != nil || !fire(n, intended) {
			return
		}
	}
}

// Load is operations of the service side that start at a rate, whether or not earlier ones have ended.
// One that the service throttles is not made again: it is counted as throttled.
type Load struct {
	Series   *metrics.Series
	From, To float64 // operations a second: linearly over each window
	Windows  Windows
	InFlight int // operations under way at once; 256 when 0. What is due beyond is dropped and counted.
	// Do carries out the n-th operation, counted from 0.
	Do    func(ctx context.Context, n int64) error
	Codes *Codes // counts errors; may be nil
}

// defaultInFlight is below the connections that the engine's client has.
const defaultInFlight = 256

// Run runs until ctx ends or there is no further window, and waits for the operations under way.
func (l *Load) Run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	places := make(chan struct{}, orDefault(l.InFlight, defaultInFlight))
	count := int64(0)
	for {
		window, err := l.Windows(ctx)
		if err != nil {
			return
		}
		both, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(window.Context, cancel)
		if window.Context.Err() != nil { // AfterFunc calls from a goroutine of its own
			cancel()
		}
		pace(both, window.Start, ramp(l.From, l.To, window.Length), func(_ int64, intended time.Time) bool {
			turn := count
			count++
			select {
			case places <- struct{}{}:
				under.Go(func() {
					defer func() { <-places }()
					l.once(ctx, intended, turn)
				})
			default:
				l.Series.Drop(intended, metrics.DropInFlight)
			}
			return true
		})
		stop()
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

func (l *Load) once(ctx context.Context, intended time.Time, n int64) {
	op := l.Series.Start(intended, time.Now())
	err := l.Do(calls(ctx), n)
	if finish(calls(ctx), op, time.Now(), err) {
		l.Codes.add(err)
	}
}

// Order is the numbers below n in an order that follows from a seed and a name.
func Order(seed uint64, name string, n int) []int { return schedule.Rand(seed, name, 0).Perm(n) }

// Codes counts errors by what the service calls them, in bounded space. A nil one counts nothing.
type Codes struct {
	mu     sync.Mutex // protects counts
	counts map[string]int
}

// CodeCount is how often an error came.
type CodeCount struct {
	Code  string `json:"code"` // such as 404103 DeviceNotOnline
	Count int    `json:"count"`
}

// maxCodes bounds the kinds of errors that are told apart.
const maxCodes = 20

func (c *Codes) add(err error) {
	if c == nil || err == nil {
		return
	}
	code := "other"
	var e *iothub.Error
	switch {
	case errors.As(err, &e):
		code = fmt.Sprintf("%d %s", e.Code, e.Name)
	case errors.Is(err, ErrDeviceStatus):
		code = "device status"
	case errors.Is(err, context.DeadlineExceeded):
		code = "no answer"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]int)
	}
	if len(c.counts) >= maxCodes && c.counts[code] == 0 {
		code = "other"
	}
	c.counts[code]++
}

// List is the errors, the most frequent first.
func (c *Codes) List() []CodeCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []CodeCount
	for code, n := range c.counts {
		all = append(all, CodeCount{code, n})
	}
	slices.SortFunc(all, func(a, b CodeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	return all
}
