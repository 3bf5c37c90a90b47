package identity

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// How a Provisioner paces itself. The service counts every identity of a call against its limit, and takes
// a call as a whole or not at all (iot-hub-devguide-quotas-throttling): when it sheds one the next is half as
// large, so that one passes even where the limit's burst is smaller than a full call; each that passes lets them
// grow again.
const (
	concurrency = 4 // calls under way at once: enough to keep a hub busy, few enough not to flood it
	firstWait   = time.Second
	longestWait = 30 * time.Second
	tries       = 4 // of a call that failed for another reason than the service's limit
)

// work is one Make or Remove under way.
type work struct {
	p *Provisioner
	n int

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
}

// run does a job for the indexes from 0 to before n, in parts.
func (p *Provisioner) run(ctx context.Context, n int, job func(w *work, first, last int) error) error {
	w := &work{p: p, n: n, active: concurrency, size: iothub.MaxBulk, wait: firstWait}
	var running sync.WaitGroup
	for range concurrency {
		running.Go(func() { w.loop(ctx, job) })
	}
	running.Wait()
	switch {
	case w.err != nil:
		return w.err
	case w.done < n && ctx.Err() != nil:
		return context.Cause(ctx)
	case w.done < n:
		return ErrStopped
	}
	return nil
}

func (w *work) loop(ctx context.Context, job func(w *work, first, last int) error) {
	for w.pause(ctx) && !w.superfluous() {
		first, last, ok := w.take()
		if !ok {
			return
		}
		began := time.Now()
		err := job(w, first, last)
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
func (w *work) stopped() bool {
	select {
	case <-w.p.Stop:
		return true
	default:
		return false
	}
}

// pause waits until a call may start; false means that none may.
func (w *work) pause(ctx context.Context) bool {
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
		case <-w.p.Stop:
		}
		timer.Stop()
	}
}

// superfluous reports whether the loop that asks should end: a service that sheds is kept busy by one.
func (w *work) superfluous() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slowed.IsZero() || w.active == 1 {
		return false
	}
	w.active--
	return true
}

// take gives the indexes of the next call. When there are none the loop that asks ends.
func (w *work) take() (first, last int, ok bool) {
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
	first, last = w.next, min(w.n, w.next+w.size)
	w.next = last
	if first == last {
		w.active--
	}
	return first, last, first < last
}

func (w *work) giveBack(first, last int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returned = append(w.returned, [2]int{first, last})
}

// slowDown lowers the pace after a call that the service shed.
func (w *work) slowDown(began time.Time, after time.Duration) {
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
func (w *work) finish(first, last int, err error) bool {
	w.mu.Lock()
	if err != nil {
		w.err = errors.Join(w.err, err)
		w.mu.Unlock()
		return false
	}
	w.done += last - first
	w.wait = firstWait
	w.size = min(iothub.MaxBulk, w.size+1+w.size/4)
	w.mu.Unlock()
	w.tell(false)
	return true
}

func (w *work) tell(throttled bool) {
	if w.p.Progress == nil {
		return
	}
	w.told.Lock()
	defer w.told.Unlock()
	w.mu.Lock()
	done := w.done
	w.mu.Unlock()
	w.p.Progress(Progress{Done: done, Total: w.n, Throttled: throttled})
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

// bulk makes one call and sorts its failures by device. A call without an answer is made again, with the same
// keys: it may have been carried out.
func (w *work) bulk(ctx context.Context, entries []iothub.BulkEntry) (map[string]iothub.BulkError, error) {
	result, err := w.p.Registry.Bulk(ctx, entries)
	for try := 1; mayPass(err) && try < tries && ctx.Err() == nil && !w.stopped(); try++ {
		timer := time.NewTimer(firstWait << (try - 1))
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-w.p.Stop:
		}
		timer.Stop()
		result, err = w.p.Registry.Bulk(ctx, entries)
	}
	if err != nil {
		return nil, err
	}
	failed := make(map[string]iothub.BulkError, len(result.Errors))
	for _, e := range result.Errors {
		failed[e.DeviceID] = e
	}
	return failed, nil
}

// mayPass reports whether a call failed for a reason that may be gone the next time: no answer, or an error of
// the service itself.
func mayPass(err error) bool {
	var e *iothub.Error
	if errors.As(err, &e) {
		return e.Status >= 500 && e.Status != http.StatusServiceUnavailable
	}
	return err != nil
}

// patiently makes a call again as long as the service sheds it.
func (w *work) patiently(ctx context.Context, call func() error) error {
	for {
		began := time.Now()
		err := call()
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
