package queries

import (
	"errors"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// The waits of a query that yields: from a second, doubled with every throttled run, up to a minute.
const (
	firstYield = time.Second
	mostYield  = time.Minute
)

// yielding is the rest that a query gives a service which throttles it.
type yielding struct {
	mu    sync.Mutex // protects the following fields
	until time.Time
	wait  time.Duration
}

func (y *yielding) at(t time.Time) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return t.Before(y.until)
}

func (y *yielding) after(r Result) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !iothub.Throttled(r.Err) {
		if r.Err == nil {
			y.wait = 0
		}
		return
	}
	y.wait = min(max(2*y.wait, firstYield), mostYield)
	var e *iothub.Error
	if errors.As(r.Err, &e) && e.RetryAfter > 0 {
		y.wait = e.RetryAfter
	}
	y.until = r.Done.Add(y.wait)
}
