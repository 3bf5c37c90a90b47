// Package jobs carries out scheduled jobs of the embedded hub: twin updates and direct methods on
// all devices that a condition selects (iot-hub-devguide-jobs).
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/jobs/progress"
	"github.com/twinfleet/twinfleet/internal/hub/method"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// Hub is what jobs do their work with. Errors are *iothub.Error.
type Hub interface {
	PatchTwin(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error)
	ParseValue(b []byte) (jsonvalue.Value, error)
	method.Caller
}

// Options of a Runner.
type Options struct {
	Hub    Hub         // required
	Source plan.Source // required
	// Admit waits until a job may work on one more device; an error ends the job. Nil lets it go on at once.
	Admit func(ctx context.Context) error
	// Meter counts one operation of so many bytes against the day's messages; nil counts nothing.
	Meter func(bytes int)
	// Active is how many jobs may run at once; 0 is no limit. One more is refused; one that was
	// scheduled for later and comes due waits.
	Active int
	// Concurrency is how many devices of a job are worked on at once; 10 when 0.
	Concurrency int
}

const (
	defaultLife = time.Hour           // of a job that does not say how long it may take
	keepFor     = 30 * 24 * time.Hour // after its end a job can be asked about (iot-hub-devguide-jobs)
	keepAtMost  = 1000                // jobs that have ended; older ones are forgotten
)

// Runner keeps and runs jobs. All its goroutines have ended when Close returns.
type Runner struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{} // one for each job that runs; nil without a limit

	mu     sync.Mutex // protects the following fields and the state of each job
	jobs   map[string]*job
	all    sync.WaitGroup // started only while not closed
	closed bool
}

type job struct {
	doc     jobs.Job
	query   *query.Query
	patch   twinPatch
	cancel  context.CancelFunc
	devices []*progress.Device
}

type twinPatch struct{ tags, desired jsonvalue.Value }

// New makes a Runner without jobs.
func New(o Options) *Runner {
	if o.Concurrency == 0 {
		o.Concurrency = 10
	}
	r := &Runner{opts: o, jobs: make(map[string]*job)}
	if o.Active > 0 {
		r.slots = make(chan struct{}, o.Active)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close cancels all jobs and waits for them.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.all.Wait()
}

// Create takes a job and starts it at its time. Errors: ErrArgumentInvalid, ErrJobExists,
// ErrTooManyJobs, ErrServiceUnavailable after Close.
func (r *Runner) Create(in jobs.Job) (jobs.Job, error) {
	j := &job{doc: in}
	if err := r.check(j, in); err != nil {
		return jobs.Job{}, err
	}
	now := time.Now()
	wait := max(0, in.Start.Sub(now)) // a job without a start time starts now
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(now)
	switch {
	case r.closed:
		return jobs.Job{}, iothub.ErrServiceUnavailable
	case r.jobs[in.JobID] != nil:
		return jobs.Job{}, iothub.ErrJobExists.With("job %s exists", in.JobID)
	case wait == 0 && r.opts.Active > 0 && r.activeLocked() >= r.opts.Active:
		return jobs.Job{}, iothub.ErrTooManyJobs.With("%d jobs are active, which is the most in this tier", r.opts.Active)
	}
	j.doc.Created = timestamp.Time{Time: now}
	j.doc.End, j.doc.FailureReason, j.doc.StatusMessage = nil, "", ""
	j.doc.Status = jobs.Queued
	if wait > 0 {
		j.doc.Status = jobs.Scheduled
	}
	life := time.Duration(in.MaxExecutionTime) * time.Second
	if life <= 0 {
		life = defaultLife
	}
	ctx, cancel := context.WithTimeout(r.ctx, wait+life)
	j.cancel = cancel
	r.jobs[in.JobID] = j
	r.all.Go(func() { r.run(ctx, j, wait) })
	return j.state(), nil
}

// forgetLocked drops jobs that ended long ago, or before too many others.
func (r *Runner) forgetLocked(now time.Time) {
	var over []*job
	for _, j := range r.jobs {
		if j.doc.End != nil {
			over = append(over, j)
		}
	}
	slices.SortFunc(over, func(a, b *job) int { return b.doc.End.Compare(a.doc.End.Time) })
	for i, j := range over {
		if i >= keepAtMost || now.Sub(j.doc.End.Time) > keepFor {
			delete(r.jobs, j.doc.JobID)
		}
	}
}

func (r *Runner) check(j *job, in jobs.Job) error {
	var err error
	if j.query, err = query.Condition(in.QueryCondition); err != nil {
		return iothub.ErrArgumentInvalid.With("queryCondition: %v", err)
	}
	switch in.Type {
	case jobs.TwinUpdate:
		doc, err := r.opts.Hub.ParseValue(in.UpdateTwin)
		if err != nil || doc.Kind() != jsonvalue.Object {
			return iothub.ErrArgumentInvalid.With("updateTwin is no twin patch")
		}
		j.patch = twinPatch{doc.Get("tags"), doc.Path("properties", "desired")}
	case jobs.DeviceMethod:
		return method.Check(in.Method)
	default:
		return iothub.ErrArgumentInvalid.With("type must be %s or %s", jobs.TwinUpdate, jobs.DeviceMethod)
	}
	return nil
}

// activeLocked is how many jobs run or are about to.
func (r *Runner) activeLocked() int {
	n := 0
	for _, j := range r.jobs {
		if j.doc.Status == jobs.Queued || j.doc.Status == jobs.Running {
			n++
		}
	}
	return n
}

func ended(status string) bool {
	return status == jobs.Completed || status == jobs.Failed || status == jobs.Cancelled
}

// run waits for the job's time and turn, selects its devices and works on them.
func (r *Runner) run(ctx context.Context, j *job, wait time.Duration) {
	defer j.cancel()
	err := r.turn(ctx, j, wait)
	if err == nil {
		err = r.work(ctx, j)
		r.release()
	}
	r.finish(ctx, j, err)
}

// turn waits until the job may run.
func (r *Runner) turn(ctx context.Context, j *job, until time.Duration) error {
	if err := wait.For(ctx, until); err != nil {
		return err
	}
	r.setStatus(j, jobs.Queued)
	if r.slots == nil {
		return ctx.Err()
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Runner) release() {
	if r.slots != nil {
		<-r.slots
	}
}

// setStatus moves a job on, unless it was cancelled meanwhile.
func (r *Runner) setStatus(j *job, status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ended(j.doc.Status) {
		j.doc.Status = status
	}
}

// work does the job on its devices. An error says why some were not reached.
func (r *Runner) work(ctx context.Context, j *job) error {
	var devices []*progress.Device
	for _, t := range j.query.Plan(r.opts.Source).Matches() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		devices = append(devices, &progress.Device{ID: t.DeviceID, Status: progress.Pending})
	}
	r.setStatus(j, jobs.Running)
	r.mu.Lock()
	j.devices = devices
	r.mu.Unlock()
	var workers sync.WaitGroup
	defer workers.Wait()
	places := make(chan struct{}, r.opts.Concurrency)
	for _, d := range devices {
		if r.opts.Admit != nil {
			if err := r.opts.Admit(ctx); err != nil {
				return err
			}
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		workers.Go(func() {
			defer func() { <-places }()
			r.device(ctx, j, d)
		})
	}
	return nil
}

// device does the job on one device.
func (r *Runner) device(ctx context.Context, j *job, d *progress.Device) {
	r.mu.Lock()
	d.Status, d.Start = jobs.Running, time.Now()
	r.mu.Unlock()
	var err error
	var status int
	var payload []byte
	if j.doc.Type == jobs.TwinUpdate {
		_, err = r.opts.Hub.PatchTwin(ctx, d.ID, j.patch.tags, j.patch.desired, "*")
		if err == nil {
			r.meter(len(j.doc.UpdateTwin))
		}
	} else {
		status, payload, err = method.Call(ctx, r.opts.Hub, d.ID, j.doc.Method)
		// The request counts, and so does the answer, also one that did not come (iot-hub-devguide-pricing).
		r.meter(len(j.doc.Method.Payload))
		r.meter(len(payload))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.End, d.Status = time.Now(), jobs.Completed
	if err != nil {
		d.Status, d.Err = jobs.Failed, iothub.AsError(err)
		return
	}
	d.MethodAnswered, d.MethodStatus = j.doc.Type == jobs.DeviceMethod, status
	if json.Valid(payload) {
		d.Payload = payload
	}
}

func (r *Runner) meter(bytes int) {
	if r.opts.Meter != nil {
		r.opts.Meter(bytes)
	}
}

// finish gives the job its last state. A job that tried all its devices has completed, also when
// some failed: its statistics say so. Devices it did not come to are cancelled or failed with it.
func (r *Runner) finish(ctx context.Context, j *job, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	j.doc.End = &timestamp.Time{Time: now}
	var left *iothub.Error
	switch {
	case j.doc.Status == jobs.Cancelled || errors.Is(ctx.Err(), context.Canceled):
		j.doc.Status = jobs.Cancelled
	case ctx.Err() != nil:
		j.doc.Status = jobs.Failed
		j.doc.FailureReason = "the job took longer than its maxExecutionTimeInSeconds"
		left = iothub.ErrGenericTimeout
	case err != nil:
		left = iothub.AsError(err)
		j.doc.Status, j.doc.FailureReason = jobs.Failed, left.Message
	default:
		j.doc.Status = jobs.Completed
	}
	for _, d := range j.devices {
		if d.Status == progress.Pending {
			d.Status, d.End, d.Err = j.doc.Status, now, left
		}
	}
}
