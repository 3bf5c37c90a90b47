// Package paced does work of many parts at the pace that a service allows.
package paced

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
)

// Concurrency is how many calls are under way at once: enough to keep a hub busy, few enough not to flood it.
const Concurrency = 4

// How work is paced. The service counts every identity of a call against its limit, and takes
// a call as a whole or not at all (iot-hub-devguide-quotas-throttling): when it sheds one the next is half as
// large, so that one passes even where the limit's burst is smaller than a full call; each that passes lets them
// grow back.
const (
	firstWait   = time.Second
	longestWait = 30 * time.Second
	tries       = 4 // of a call that failed for another reason than the service's limit
	// A service that takes calls and answers none is given up after a minute and a half.
	callTimeout = 30 * time.Second
	patience    = 90 * time.Second // no further try of a call begins later
	silence     = 10 * time.Second // without an answer is worth telling
	stopGrace   = 3 * time.Second  // for the calls under way when the work is stopped
)

// ErrStopped is returned when Options.Stop was closed before all was done.
var ErrStopped = errors.New("stopped before all identities were done")

// Progress is how far work has come.
type Progress struct {
	Done, Total int // devices, of Total
	// Throttled says that the service sheds the calls: they are made later.
	Throttled bool
	// Silent is for how long the service has answered nothing, when that is longer than usual; else 0.
	Silent time.Duration
}

// Hindrance is what the service is waited for, to follow a count; empty for nothing.
func (p Progress) Hindrance() string {
	switch {
	case p.Throttled:
		return " (the registry throttles; waiting)"
	case p.Silent > 0:
		return fmt.Sprintf(" (the registry has not answered for %s; waiting)", p.Silent)
	}
	return ""
}

// Options of Run.
type Options struct {
	Total int // identities, by index from 0
	// Stop ends the work politely when it is closed: calls under way are waited for, but for no longer than
	// three seconds. nil never does.
	Stop <-chan struct{}
	// Progress, which may be nil, is told how far it is, one at a time. It must be quick.
	Progress func(Progress)
}

// Work is work under way.
type Work struct {
	opts Options

	told sync.Mutex // orders what others are told

	mu        sync.Mutex // protects the following fields
	active    int        // loops
	next      int        // the first index that nobody has taken
	returned  [][2]int   // taken and given back
	done      int
	err       error
	size      int           // identities of the next call
	notBefore time.Time     // no call starts earlier
	slowed    time.Time     // when the pace was last lowered: calls that began before say nothing new
	wait      time.Duration // after the next call that is shed, if the service does not say
	calls     int           // under way
	heard     time.Time     // when the service last answered, or the first call began
}

// Run does a job for all indexes, in parts from first to before last. A part that the service sheds is done later. It returns
// ErrStopped when Stop was closed before all was done.
func Run(ctx context.Context, o Options, job func(ctx context.Context, w *Work, first, last int) error) error {
	w := &Work{opts: o, active: Concurrency, size: registry.MaxBulk, wait: firstWait, heard: time.Now()}
	calls, cancel := context.WithCancelCause(ctx)
	var running, watch sync.WaitGroup
	for range Concurrency {
		running.Go(func() { w.loop(calls, job) })
	}
	watch.Go(func() { w.watch(calls, cancel) })
	running.Wait()
	cancel(nil)
	watch.Wait()
	switch {
	case w.err != nil:
		return w.err
	case w.done < o.Total && ctx.Err() != nil:
		return context.Cause(ctx)
	case w.done < o.Total:
		return ErrStopped
	}
	return nil
}

// watch tells of a service that answers nothing, and cancels the calls that a stop finds and that are not answered
// soon, until ctx ends.
func (w *Work) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(silence)
	defer tick.Stop()
	stop, grace := w.opts.Stop, (<-chan time.Time)(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			timer := time.NewTimer(stopGrace)
			defer timer.Stop()
			stop, grace = nil, timer.C
		case <-grace:
			cancel(ErrStopped)
			return
		case <-tick.C:
			w.mu.Lock()
			silent, waiting := time.Since(w.heard), w.calls > 0
			w.mu.Unlock()
			if waiting && silent >= silence {
				w.report(Progress{Silent: silent.Truncate(time.Second)})
			}
		}
	}
}

func (w *Work) loop(ctx context.Context, job func(ctx context.Context, w *Work, first, last int) error) {
	for w.pause(ctx) && !w.superfluous() {
		first, last, ok := w.take()
		if !ok {
			return
		}
		began := time.Now()
		err := job(ctx, w, first, last)
		if err != nil && errors.Is(context.Cause(ctx), ErrStopped) {
			return
		}
		if after, shed := shedBy(err); shed {
			w.giveBack(first, last)
			w.slowDown(began, after)
			continue
		}
		if !w.finish(first, last, err) {
			return
		}
	}
}

// stopped reports whether no further call may start.
func (w *Work) stopped() bool {
	select {
	case <-w.opts.Stop:
		return true
	default:
		return false
	}
}

// pause waits until a call may start; false means that none may.
func (w *Work) pause(ctx context.Context) bool {
	for {
		w.mu.Lock()
		d, failed := time.Until(w.notBefore), w.err != nil
		w.mu.Unlock()
		if failed || ctx.Err() != nil || w.stopped() {
			return false
		}
		if d <= 0 {
			return true
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-w.opts.Stop:
		}
		timer.Stop()
	}
}

// superfluous reports whether the loop that asks should end: a service that sheds is kept busy by one.
func (w *Work) superfluous() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slowed.IsZero() || w.active == 1 {
		return false
	}
	w.active--
	return true
}

// take gives the indexes of the next call. When there are none the loop that asks ends.
func (w *Work) take() (first, last int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := len(w.returned) - 1; i >= 0 {
		part := w.returned[i]
		w.returned = w.returned[:i]
		first, last = part[0], min(part[1], part[0]+w.size)
		if last < part[1] {
			w.returned = append(w.returned, [2]int{last, part[1]})
		}
		return first, last, true
	}
	first, last = w.next, min(w.opts.Total, w.next+w.size)
	w.next = last
	if first == last {
		w.active--
	}
	return first, last, first < last
}

func (w *Work) giveBack(first, last int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returned = append(w.returned, [2]int{first, last})
}

// slowDown lowers the pace after a call that the service shed.
func (w *Work) slowDown(began time.Time, after time.Duration) {
	w.mu.Lock()
	if began.Before(w.slowed) {
		w.mu.Unlock()
		return
	}
	if after == 0 {
		after = w.wait
		w.wait = min(2*w.wait, longestWait)
	}
	now := time.Now()
	w.slowed, w.notBefore = now, now.Add(after)
	w.size = max(1, w.size/2)
	w.mu.Unlock()
	w.tell(true)
}

// finish notes a part that is done; false means that the work is over.
func (w *Work) finish(first, last int, err error) bool {
	w.mu.Lock()
	if err != nil {
		if w.err == nil {
			w.err = err // the other calls failed for the same reason, or because of this one
		}
		w.mu.Unlock()
		return false
	}
	w.done += last - first
	w.wait = firstWait
	w.size = min(registry.MaxBulk, w.size+1+w.size/4)
	w.mu.Unlock()
	w.tell(false)
	return true
}

func (w *Work) tell(throttled bool) { w.report(Progress{Throttled: throttled}) }

func (w *Work) report(p Progress) {
	if w.opts.Progress == nil {
		return
	}
	w.told.Lock()
	defer w.told.Unlock()
	w.mu.Lock()
	p.Done, p.Total = w.done, w.opts.Total
	w.mu.Unlock()
	w.opts.Progress(p)
}

// ask makes one call, in its time, and notes whether the service answers.
func (w *Work) ask(ctx context.Context, call func(context.Context) error) error {
	w.mu.Lock()
	w.calls++
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	err := call(ctx)
	cancel()
	var answer *iothub.Error
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls--
	if err == nil || errors.As(err, &answer) {
		w.heard = time.Now()
	}
	return err
}

// failed reports whether another call has ended the work.
func (w *Work) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil
}

// shedBy reports whether an error is how the service sheds load, and how long it asks to wait; 0 when it
// does not say.
func shedBy(err error) (after time.Duration, shed bool) {
	var e *iothub.Error
	if !errors.As(err, &e) || (e.Status != http.StatusTooManyRequests && e.Status != http.StatusServiceUnavailable) {
		return 0, false
	}
	return e.RetryAfter, true
}

// Repeat makes a call. One without an answer is made once more: it may have been carried out, so that it must be repeatable.
func (w *Work) Repeat(ctx context.Context, call func(context.Context) error) error {
	began := time.Now()
	err := w.ask(ctx, call)
	for try := 1; mayPass(err) && try < tries && ctx.Err() == nil && !w.stopped() && !w.failed(); try++ {
		wait := firstWait << (try - 1)
		if time.Since(began)+wait > patience {
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-w.opts.Stop:
		}
		timer.Stop()
		err = w.ask(ctx, call)
	}
	return err
}

// Tell runs something while nobody else is told anything of the work.
func (w *Work) Tell(what func() error) error {
	w.told.Lock()
	defer w.told.Unlock()
	return what()
}

// mayPass reports whether a call failed for a reason that may be gone the next time: no answer, or an error of
// the service itself.
func mayPass(err error) bool {
	var e *iothub.Error
	if errors.As(err, &e) {
		return e.Status >= 500 && e.Status != http.StatusServiceUnavailable
	}
	return err != nil && !service.Permanent(err)
}

// Patiently repeats a call as long as the service sheds it.
func (w *Work) Patiently(ctx context.Context, call func(context.Context) error) error {
	for {
		began := time.Now()
		err := w.ask(ctx, call)
		after, shed := shedBy(err)
		if !shed {
			return err
		}
		w.slowDown(began, after)
		if !w.pause(ctx) {
			return err
		}
	}
}
