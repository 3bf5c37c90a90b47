package pace

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/metrics"
)

// Load is operations of the service side that start at a rate, whether or not earlier ones have ended.
// One that the service throttles is not made once more: it is counted as throttled.
type Load struct {
	Series   *metrics.Series // of the operations; required
	From, To float64         // operations a second: linearly over each window
	Windows  Windows         // when it is wanted; required
	InFlight int             // operations under way at once; DefaultInFlight when 0. What is due beyond is dropped and counted.
	// Do carries out the n-th operation, counted from 0; required.
	Do    func(ctx context.Context, n int64) error
	Codes *failure.Codes // counts errors; may be nil
}

// DefaultInFlight is how many operations are under way at once at the most: fewer than the engine's client has connections.
const DefaultInFlight = 256

// Run runs until ctx ends or there is no further window, and waits for the operations under way.
func (l *Load) Run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	places := make(chan struct{}, cmp.Or(l.InFlight, DefaultInFlight))
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
		Run(both, window.Start, ramp(l.From, l.To, window.Length), func(_ int64, intended time.Time) bool {
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
	err := l.Do(call.Context(ctx), n)
	if call.Finish(ctx, op, time.Now(), err) {
		l.Codes.Add(err)
	}
}
