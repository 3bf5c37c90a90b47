// Package several is the service side of a run whose devices are dealt to several hubs: what one hub's client does, done by those of all of
// them. What is of one device goes to its hub; what is of all devices goes to all hubs, and their answers are put together.
package several

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// Service is what a run does at the service side: a *service.Client does it at one hub, and Hubs at several. It is safe for concurrent use.
type Service interface {
	// Of one device.
	Device(ctx context.Context, id string) (registry.Identity, error)
	Twin(ctx context.Context, id string) (json.RawMessage, error)
	PatchTwin(ctx context.Context, id string, patch []byte, etag string) (json.RawMessage, error)
	InvokeMethod(ctx context.Context, id string, call methods.Request) (methods.Response, error)

	// Of many.
	Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error)
	Statistics(ctx context.Context) (registry.Statistics, error)
	Query(sql string, pageSize int) service.Pages

	CreateJob(ctx context.Context, job jobs.Job) (jobs.Job, error)
	Job(ctx context.Context, id string) (jobs.Job, error)
	CancelJob(ctx context.Context, id string) (jobs.Job, error)

	PutConfiguration(ctx context.Context, doc configuration.Configuration) (configuration.Configuration, error)
	Configuration(ctx context.Context, id string) (configuration.Configuration, error)
	DeleteConfiguration(ctx context.Context, id string) error

	BaseURL() string // where requests go; of several hubs, those to the first
	Close()          // closes what is idle
}

// Hubs are the service sides of several hubs as one.
type Hubs struct {
	of []Service
	at func(id string) (hub int, ok bool)
}

// New makes one service side of those of several hubs. at tells which of them has a device; ok is false for a device of nobody's. It must
// be safe for concurrent use.
func New(of []Service, at func(id string) (hub int, ok bool)) *Hubs { return &Hubs{of, at} }

// BaseURL is where requests to the first hub go.
func (h *Hubs) BaseURL() string { return h.of[0].BaseURL() }

// Close closes the connections that are idle.
func (h *Hubs) Close() {
	for _, hub := range h.of {
		hub.Close()
	}
}

// errStranger is returned for a write to a device of which nobody knows the hub.
var errStranger = errors.New("it is none of the run's devices, and so of none of its hubs")

// hub is the one that has a device, which a write is for.
func (h *Hubs) hub(id string) (Service, error) {
	i, ok := h.at(id)
	if !ok {
		return nil, fmt.Errorf("device %s: %w", id, errStranger)
	}
	return h.of[i], nil
}

// read reads what is of one device at its hub. One that is none of the run's is looked for at all of them: it is not there when it is at none.
func read[T any](h *Hubs, id string, do func(Service) (T, error)) (out T, err error) {
	if i, ok := h.at(id); ok {
		return do(h.of[i])
	}
	for _, hub := range h.of {
		if out, err = do(hub); !errors.Is(err, iothub.ErrDeviceNotFound) {
			return out, err
		}
	}
	return out, err
}

// Device reads an identity: see service.Client.
func (h *Hubs) Device(ctx context.Context, id string) (registry.Identity, error) {
	return read(h, id, func(hub Service) (registry.Identity, error) { return hub.Device(ctx, id) })
}

// Twin reads a twin: see service.Client.
func (h *Hubs) Twin(ctx context.Context, id string) (json.RawMessage, error) {
	return read(h, id, func(hub Service) (json.RawMessage, error) { return hub.Twin(ctx, id) })
}

// PatchTwin merges a patch into a twin: see service.Client.
func (h *Hubs) PatchTwin(ctx context.Context, id string, patch []byte, etag string) (json.RawMessage, error) {
	hub, err := h.hub(id)
	if err != nil {
		return nil, err
	}
	return hub.PatchTwin(ctx, id, patch, etag)
}

// InvokeMethod calls a direct method: see service.Client.
func (h *Hubs) InvokeMethod(ctx context.Context, id string, call methods.Request) (methods.Response, error) {
	hub, err := h.hub(id)
	if err != nil {
		return methods.Response{}, err
	}
	return hub.InvokeMethod(ctx, id, call)
}

// Statistics are the sums of all hubs.
func (h *Hubs) Statistics(ctx context.Context) (sum registry.Statistics, err error) {
	parts, err := ask(h.of, func(_ int, hub Service) (registry.Statistics, error) { return hub.Statistics(ctx) })
	for _, x := range parts {
		sum.Total, sum.Enabled, sum.Disabled = sum.Total+x.Total, sum.Enabled+x.Enabled, sum.Disabled+x.Disabled
	}
	return sum, err
}

// ask asks hubs at once, and waits for all of them.
func ask[T any](of []Service, do func(i int, hub Service) (T, error)) (out []T, err error) {
	out, errs := make([]T, len(of)), make([]error, len(of))
	var all sync.WaitGroup
	for i, hub := range of {
		all.Go(func() { out[i], errs[i] = do(i, hub) })
	}
	all.Wait()
	return out, worst(errs)
}

// worst is the error to go by of several hubs': one that says that the same call may do later counts before all others.
func worst(errs []error) (err error) {
	for _, e := range errs {
		_, later := shed(e)
		if _, already := shed(err); e != nil && (err == nil || later && !already) {
			err = e
		}
	}
	return err
}

// What a part of a call waits that one hub sheds while others took theirs.
const (
	firstWait   = time.Second
	longestWait = 30 * time.Second
	mostTries   = 6
)

// ErrPart is returned for a write of which some hubs took their part, while another shed its own however often it was asked. It is no error of
// the service: who repeats the call may do so with the same content only.
var ErrPart = errors.New("some hubs took their part of the call, another sheds its own")

// parted does a write of several parts, each at its hub. A part that its hub sheds while others took theirs is sent anew, since who repeats the
// whole with other content would do those twice. When all are shed, or one fails for another reason, that is the error.
func parted(ctx context.Context, parts int, do func(part int) error) error {
	errs := make([]error, parts)
	once := func(only func(i int) bool) {
		var all sync.WaitGroup
		for i := range parts {
			if only(i) {
				all.Go(func() { errs[i] = do(i) })
			}
		}
		all.Wait()
	}
	once(func(int) bool { return true })
	pause := firstWait
	for try := 1; ; try++ {
		done, shedding, after := 0, 0, time.Duration(0)
		for _, err := range errs {
			if d, shed := shed(err); shed {
				shedding++
				after = max(after, d)
			} else if err == nil {
				done++
			}
		}
		if done == 0 || shedding == 0 || done+shedding < parts {
			return worst(errs)
		}
		if after == 0 {
			after, pause = pause, min(2*pause, longestWait)
		}
		if try == mostTries {
			return fmt.Errorf("%w: %v", ErrPart, worst(errs)) // not wrapped: see ErrPart
		}
		if err := wait.For(ctx, after); err != nil {
			return fmt.Errorf("%w: %w: %v", ErrPart, err, worst(errs))
		}
		once(func(i int) bool { return errs[i] != nil })
	}
}

// shed reports whether a hub had no room for a call, and after what time it asks for the next; 0 when it does not say.
func shed(err error) (after time.Duration, shed bool) {
	var e *iothub.Error
	if !errors.As(err, &e) || e.Status != http.StatusTooManyRequests && e.Status != http.StatusServiceUnavailable {
		return 0, false
	}
	return e.RetryAfter, true
}
