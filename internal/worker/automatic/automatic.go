// Package automatic rolls desired properties out by a configuration of automatic device management: the service writes the
// twins, and what is measured is how long it takes until so many devices have the properties
// (iot-hub-automatic-device-management).
//
// Two witnesses are heard, and both must say that a share is reached: the devices, by what they were told and what they
// answered after the configuration was sent, and the service, by its count of twins into which the configuration was
// written. A service that counts and does not deliver fails, and so do devices that had the properties before and were
// told of nothing.
package automatic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// Service keeps configurations.
type Service interface {
	PutConfiguration(ctx context.Context, c configuration.Configuration) (configuration.Configuration, error)
	Configuration(ctx context.Context, id string) (configuration.Configuration, error)
	DeleteConfiguration(ctx context.Context, id string) error
}

// Share is when a share of the devices had the properties.
type Share struct {
	Percent int           // of the devices
	Took    time.Duration // from the sending of the configuration; 0 while it is not reached
	Reached bool
}

// Result is what became of a rollout.
type Result struct {
	Devices  int           // of the group
	Before   int           // that held the properties before the configuration was sent
	Told     int           // that were told of all the properties since
	Answered int           // that answered since
	Targeted int64         // twins that the service says match; -1 when it never said
	Applied  int64         // twins that the service says it wrote; -1 when it never said
	Shares   []Share       // in their order
	Took     time.Duration // until the last share was reached, or the rollout given up
	Missed   error         // why the last share was not reached; nil when it was
	Left     error         // why the configuration could not be removed; nil when it was
	Running  bool          // whether it still goes on; only Progress tells it
}

// Rollout is one rollout. Told and Answered may be called from several goroutines, at any time.
type Rollout struct {
	Name       string            // in messages
	Group      string            // of the devices, in metrics
	First      int               // index in the fleet of the group's first device
	IDs        []string          // of the group's devices
	ID         string            // of the configuration; one that nobody else uses
	Properties json.RawMessage   // desired; an object that is not empty
	Condition  string            // which twins the configuration targets; it should be those of the group
	Priority   int               // of the configuration
	Shares     []int             // of the devices, in percent, growing
	Timeout    time.Duration     // for the last share, from the sending of the configuration
	Answers    bool              // whether the devices answer desired properties: then their answers count
	Service    Service           // required
	Recorder   *metrics.Recorder // required
	Codes      *failure.Codes    // counts errors of the service; may be nil

	patches, told, answered *metrics.Series
	leaves                  []configuration.Leaf

	mu      sync.Mutex // protects the following fields
	devices []device
	began   time.Time     // zero before the configuration is sent
	over    bool          // nothing counts any more
	have    int           // devices that count, of the kind that Answers says
	news    chan struct{} // holds a token when have has grown
	result  Result
}

// How often the service is asked for its counts, and how a call is repeated that it throttles: it takes 20 calls a minute and
// unit (iot-hub-devguide-quotas-throttling).
const (
	pollEvery   = 5 * time.Second
	putTries    = 5
	removeTries = 5
)

// Prepare makes the rollout ready for Told and Answered. It comes before all other methods. The error says that the
// properties cannot be the content of a configuration.
func (r *Rollout) Prepare() error {
	content, err := configuration.OfProperties(r.Properties).Parse()
	if err != nil {
		return fmt.Errorf("rollout %s: %w", r.Name, err)
	}
	r.leaves = content.Leaves
	r.patches = r.Recorder.Series(metrics.OpDesiredPatch, r.Group)
	r.told = r.Recorder.Series(metrics.OpDesired, r.Group)
	if r.Answers {
		r.answered = r.Recorder.Series(metrics.OpDesiredReply, r.Group)
	}
	r.devices = make([]device, len(r.IDs))
	r.news = make(chan struct{}, 1)
	r.result = Result{Devices: len(r.IDs), Targeted: -1, Applied: -1}
	for _, percent := range r.Shares {
		r.result.Shares = append(r.result.Shares, Share{Percent: percent})
	}
	return nil
}

// Progress is what became of the rollout until now; ok is false before the configuration was sent. Missed and Left are of its end.
func (r *Rollout) Progress() (now Result, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now = r.result
	now.Shares, now.Running = slices.Clone(now.Shares), !r.over
	if now.Took == 0 && !r.began.IsZero() {
		now.Took = time.Since(r.began)
	}
	return now, !r.began.IsZero()
}

// ErrMissed is matched by Result.Missed of a share that was not reached.
var ErrMissed = errors.New("the share was not reached")

// Run carries out the rollout, and removes its configuration, also when ctx ends first.
func (r *Rollout) Run(ctx context.Context) Result {
	err := r.put(ctx)
	made := err == nil
	if made {
		err = r.watch(ctx)
	}
	ending := r.ending(ctx, made, err)
	r.mu.Lock()
	r.over = true
	for i := range r.devices {
		r.devices[i].end(r.answered != nil, ending)
	}
	if r.result.Took == 0 {
		r.result.Took = time.Since(r.began)
	}
	r.mu.Unlock()
	left := r.remove()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.result
	out.Shares = slices.Clone(out.Shares)
	out.Missed, out.Left = err, left
	return out
}

// put sends the configuration; from now on devices count.
func (r *Rollout) put(ctx context.Context) error {
	doc := configuration.Configuration{
		ID: r.ID, Content: configuration.OfProperties(r.Properties), TargetCondition: r.Condition, Priority: r.Priority,
		Labels: map[string]string{"rollout": r.Name},
	}
	intended := time.Now()
	for try := 1; ; try++ {
		sent := time.Now()
		r.begin(intended, sent)
		op := r.patches.Start(intended, sent)
		_, err := r.Service.PutConfiguration(call.Context(ctx), doc)
		if err != nil && call.Context(ctx).Err() != nil {
			op.Unanswered(time.Now(), call.RunEnded)
			return fmt.Errorf("%w: %s before the configuration was made", ErrMissed, call.RunEnded)
		}
		op.EndBecause(time.Now(), call.Outcome(err), reason.Of(err))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, iothub.ErrConfigurationExists) && try > 1:
			return nil // the try before did make it
		}
		r.Codes.Add(err)
		if !iothub.Throttled(err) || try == putTries || wait.For(ctx, pollEvery) != nil {
			return fmt.Errorf("%w: making configuration %s: %w", ErrMissed, r.ID, err)
		}
	}
}

// watch hears devices and service until both say that the last share is reached, or its time is over.
func (r *Rollout) watch(ctx context.Context) error {
	timeout := time.NewTimer(time.Until(r.began.Add(r.Timeout)))
	defer timeout.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-r.news:
		case <-poll.C:
			r.ask(ctx)
		case <-timeout.C:
			r.ask(ctx)
			return r.missed(fmt.Sprintf("within %s", r.Timeout))
		case <-ctx.Done():
			return r.missed("when the run ended")
		}
		if r.reached() {
			return nil
		}
	}
}

// ask has the service tell its counts.
func (r *Rollout) ask(ctx context.Context) {
	c, err := r.Service.Configuration(call.Context(ctx), r.ID)
	if err != nil {
		if call.Context(ctx).Err() == nil {
			r.Codes.Add(err)
		}
		return // the next poll asks once more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := c.SystemMetrics.Results[configuration.TargetedCount]; ok {
		r.result.Targeted = n
	}
	if n, ok := c.SystemMetrics.Results[configuration.AppliedCount]; ok {
		r.result.Applied = n
	}
}

// needed is how many devices a share is.
func (r *Rollout) needed(percent int) int { return (len(r.IDs)*percent + 99) / 100 }

// last is how many devices the last share is.
func (r *Rollout) last() int { return r.needed(r.Shares[len(r.Shares)-1]) }

// reached reports whether devices and service say that the last share is reached.
func (r *Rollout) reached() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have < r.last() || r.result.Applied < int64(r.last()) {
		return false
	}
	r.result.Took = time.Since(r.began)
	return true
}

// missed says what was not reached.
func (r *Rollout) missed(when string) error {
	if r.reached() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	verb := "were told of it"
	if r.Answers {
		verb = "answered it"
	}
	said := "the service had not said yet to how many twins it was applied"
	if r.result.Applied >= 0 {
		said = fmt.Sprintf("the service says that it was applied to %d of %d twins", r.result.Applied, r.result.Targeted)
	}
	text := fmt.Sprintf("%d of %d devices %s %s, and %s; %d were wanted", r.have, len(r.IDs), verb, when, said, r.last())
	if r.result.Before > 0 {
		text += fmt.Sprintf("; %d had the properties before", r.result.Before)
	}
	return fmt.Errorf("%w: %s", ErrMissed, text)
}

// removeGrace is how long the removal of the configuration may take.
const removeGrace = time.Minute

// remove takes the configuration away, whatever has ended. One that was never made is none.
func (r *Rollout) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), removeGrace)
	defer cancel()
	for try := 1; ; try++ {
		err := r.Service.DeleteConfiguration(ctx, r.ID)
		if err == nil || errors.Is(err, iothub.ErrConfigurationNotFound) {
			return nil
		}
		var e *iothub.Error
		if errors.As(err, &e) && e.Status == 404 {
			return nil
		}
		if try == removeTries || wait.For(ctx, pollEvery) != nil {
			return fmt.Errorf("configuration %s is left at the service: %w", r.ID, err)
		}
	}
}
