// Package limits is how much a provisioning service does in a time.
package limits

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
)

// Limits of a service. The zero value limits nothing.
type Limits struct {
	Registrations int // in a minute; 0 for no limit
	Polls         int // in a minute; 0 for no limit
	Service       int // requests of the service side in a minute; 0 for no limit
	DevicePolls   int // of one registration in ten seconds; 0 for no limit
}

// Azure are the limits that Azure publishes (iot-dps-limits).
func Azure() Limits { return Limits{Registrations: 1000, Polls: 1000, Service: 1000, DevicePolls: 5} }

// ErrMalformed is returned for text that says no limits.
var ErrMalformed = errors.New("no limits of a provisioning service")

// Parse reads limits: "azure" for those of Azure, or some of registrations=1000,polls=1000,service=1000,device-polls=5.
// Empty text limits nothing.
func Parse(text string) (Limits, error) {
	var l Limits
	switch text {
	case "":
		return l, nil
	case "azure":
		return Azure(), nil
	}
	fields := map[string]*int{"registrations": &l.Registrations, "polls": &l.Polls, "service": &l.Service, "device-polls": &l.DevicePolls}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		field := fields[name]
		n, err := strconv.Atoi(value)
		if field == nil || err != nil || n < 1 {
			return Limits{}, fmt.Errorf("%w: %q; write azure, or some of registrations=1000,polls=1000,service=1000,device-polls=5", ErrMalformed, pair)
		}
		*field = n
	}
	return l, nil
}

// Limiter holds a service to one limit. It is safe for concurrent use; a nil Limiter limits nothing.
type Limiter struct {
	mu     sync.Mutex // protects bucket
	bucket bucket.Bucket
}

// New makes a Limiter that lets n pass in a time, at once when it was quiet for so long; nil when n is 0.
func New(n int, in time.Duration, now time.Time) *Limiter {
	if n == 0 {
		return nil
	}
	return &Limiter{bucket: bucket.New(float64(n)/in.Seconds(), bucket.Shape{Burst: in, Backlog: -1}, now)}
}

// Take lets one pass, or says how long the next one has to wait.
func (l *Limiter) Take(now time.Time) (wait time.Duration, ok bool) {
	if l == nil {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.bucket.Admit(now, 1); err != nil {
		return max(time.Second, l.bucket.Wait(now)), false
	}
	return 0, true
}
