// Package jobs carries out scheduled jobs of the embedded hub: twin updates and direct methods on
// all devices that a condition selects (iot-hub-devguide-jobs).
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/jobs/progress"
	"github.com/twinfleet/twinfleet/internal/hub/keep"
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
	// Active is how many jobs may wait or run at once; 0 is no limit. One more is refused.
	Active int
	// Keeper keeps jobs over restarts; nil keeps none.
	Keeper keep.Keeper
	Logger *slog.Logger // nil logs nothing
	// Concurrency is how many devices of a job are worked on at once; 10 when 0.
	Concurrency int
}

const (
	defaultLife    = time.Hour           // of a job that does not say how long it may take
	longestLife    = 30 * 24 * time.Hour // of one that says more
	furthestStart  = 168 * time.Hour     // that a job may be scheduled ahead (seen at the service)
	keepFor        = 30 * 24 * time.Hour // after its end a job can be asked about (iot-hub-devguide-jobs)
	keepAtMost     = 1000                // jobs that have ended; older ones are forgotten
	keepDevices    = 1_000_000           // devices of jobs that have ended, likewise
	longestID      = 64                  // characters
	idCharacters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-'"
	conditionWrong = "the queryCondition is invalid: "
)

// Runner keeps and runs jobs. All its goroutines have ended when Close returns.
type Runner struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex // protects the following fields and the state of each job
	jobs   map[string]*job
	last   uint64         // number of the job that was made last
	all    sync.WaitGroup // started only while not closed
	closed bool
}

type job struct {
	number   uint64 // in the order of their making, from 1
	doc      jobs.Job
	query    *query.Query // nil when the condition is wrong: then the job fails when it comes due
	mistake  error        // in the condition
	patch    twinPatch
	due      time.Time // when it starts
	cancel   context.CancelFunc
	selected bool // its devices are known
	devices  []*progress.Device
}

type twinPatch struct {
	tags, desired jsonvalue.Value
	etag          string // of the twins that it is for; * for all
}

// New makes a Runner without jobs.
func New(o Options) *Runner {
	if o.Concurrency == 0 {
		o.Concurrency = 10
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runner{opts: o, jobs: make(map[string]*job)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends all work and waits for it. Jobs that are kept go on when a Runner loads them.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.all.Wait()
}

// Create takes a job and starts it at its time. A job that it returned is kept. Errors: ErrArgumentInvalid, ErrPreconditionFailed
// for a twin update without an etag, ErrJobExists, ErrTooManyJobs, ErrServiceUnavailable after Close, ErrServer when it cannot be
// kept.
func (r *Runner) Create(ctx context.Context, in jobs.Job) (jobs.Job, error) {
	now := time.Now()
	j := &job{doc: in, due: now}
	if in.Start.After(now) {
		j.due = in.Start.Time // a job without a start time starts now
	}
	if err := r.check(j, now); err != nil {
		return jobs.Job{}, err
	}
	j.doc.Created = timestamp.Time{Time: now}
	j.doc.End, j.doc.FailureReason, j.doc.StatusMessage, j.doc.DeviceJobStatistic = nil, "", "", nil
	j.doc.Status = jobs.Queued
	durable, err := r.add(j, now)
	if err != nil {
		return jobs.Job{}, err
	}
	if err := durable(ctx); err != nil {
		r.mu.Lock()
		delete(r.jobs, in.JobID)
		r.mu.Unlock()
		r.drop(in.JobID)
		return jobs.Job{}, iothub.ErrServer.With("the job cannot be kept")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || ended(j.doc.Status) {
		return j.state(), nil // whoever loads it starts it; or it was cancelled already
	}
	r.startLocked(j)
	return j.state(), nil
}

// add gives a job its place among the others, and keeps it.
func (r *Runner) add(j *job, now time.Time) (durable func(context.Context) error, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(now)
	switch {
	case r.closed:
		return nil, iothub.ErrServiceUnavailable
	case r.jobs[j.doc.JobID] != nil:
		return nil, iothub.ErrJobExists.With("job %s exists", j.doc.JobID)
	case r.opts.Active > 0 && r.activeLocked() >= r.opts.Active:
		return nil, iothub.ErrTooManyJobs.With("%d jobs are active, which is the most in this tier", r.opts.Active)
	}
	r.last++
	j.number = r.last
	r.jobs[j.doc.JobID] = j
	return r.keep(j), nil
}

// startLocked begins to wait for a job's time. Its life counts from when it is due.
func (r *Runner) startLocked(j *job) {
	life := time.Duration(min(j.doc.MaxExecutionTime, int(longestLife/time.Second))) * time.Second
	if life <= 0 {
		life = defaultLife
	}
	ctx, cancel := context.WithDeadline(r.ctx, j.due.Add(life))
	j.cancel = cancel
	r.all.Go(func() { r.run(ctx, j) })
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
	devices := 0
	for i, j := range over {
		devices += len(j.devices)
		if i >= keepAtMost || i > 0 && devices > keepDevices || now.Sub(j.doc.End.Time) > keepFor {
			delete(r.jobs, j.doc.JobID)
			r.drop(j.doc.JobID)
		}
	}
}

// check holds a new job to the service's rules, and reads what it says.
func (r *Runner) check(j *job, now time.Time) error {
	in := &j.doc
	switch {
	case in.JobID == "" || len(in.JobID) > longestID || strings.Trim(in.JobID, idCharacters) != "":
		return iothub.ErrArgumentInvalid.With("a job's id has 1 to %d letters, digits, hyphens and apostrophes", longestID)
	case j.due.Sub(now) > furthestStart:
		return iothub.ErrArgumentInvalid.With("startTime must be within the next %.0f hours", furthestStart.Hours())
	case in.MaxExecutionTime < 0:
		return iothub.ErrArgumentInvalid.With("maxExecutionTimeInSeconds is below 0")
	}
	return r.read(j)
}

// read is what a job's document says. A condition that is wrong is taken, and fails the job when it comes due (seen at
// the service).
func (r *Runner) read(j *job) error {
	j.query, j.mistake = query.Condition(j.doc.QueryCondition)
	switch j.doc.Type {
	case jobs.TwinUpdate:
		doc, err := r.opts.Hub.ParseValue(j.doc.UpdateTwin)
		if err != nil || doc.Kind() != jsonvalue.Object {
			return iothub.ErrArgumentInvalid.With("updateTwin is no twin patch")
		}
		j.patch = twinPatch{doc.Get("tags"), doc.Path("properties", "desired"), strings.Trim(doc.Get("etag").Str(), `"`)}
		switch {
		case j.patch.etag == "":
			return iothub.ErrPreconditionFailed.With("updateTwin has no etag; * updates every twin")
		case !j.patch.tags.IsDefined() && !j.patch.desired.IsDefined():
			return iothub.ErrArgumentInvalid.With("updateTwin has neither tags nor properties.desired")
		}
	case jobs.DeviceMethod:
		return method.Check(j.doc.Method)
	default:
		return iothub.ErrArgumentInvalid.With("type must be %s or %s", jobs.TwinUpdate, jobs.DeviceMethod)
	}
	return nil
}

// activeLocked is how many jobs have not ended.
func (r *Runner) activeLocked() int {
	n := 0
	for _, j := range r.jobs {
		if !ended(j.doc.Status) {
			n++
		}
	}
	return n
}

func ended(status string) bool {
	return status == jobs.Completed || status == jobs.Failed || status == jobs.Cancelled
}

// run waits for the job's time, selects its devices and works on them.
func (r *Runner) run(ctx context.Context, j *job) {
	defer j.cancel()
	err := r.turn(ctx, j)
	if err == nil {
		err = r.work(ctx, j)
	}
	r.finish(ctx, j, err)
}

// turn waits until the job is due.
func (r *Runner) turn(ctx context.Context, j *job) error {
	if until := time.Until(j.due); until > 0 {
		r.setStatus(j, jobs.Scheduled)
		if err := wait.For(ctx, until); err != nil {
			return err
		}
	}
	r.setStatus(j, jobs.Queued)
	return ctx.Err()
}

// setStatus moves a job on, unless it was cancelled meanwhile.
func (r *Runner) setStatus(j *job, status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ended(j.doc.Status) {
		j.doc.Status = status
	}
}

// work does the job on those of its devices that are not done. An error says why some were not reached.
func (r *Runner) work(ctx context.Context, j *job) error {
	if j.mistake != nil {
		return iothub.ErrArgumentInvalid.With("%s%v", conditionWrong, j.mistake)
	}
	devices := j.devices // of a job that was begun before the program was; nobody else writes them now
	if !j.selected {
		for _, t := range j.query.Plan(r.opts.Source).Matches() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			devices = append(devices, &progress.Device{ID: t.DeviceID, Status: progress.Pending})
		}
		// What was done can only be told from what was not when the selection is kept.
		if err := r.keepSelection(j.doc.JobID, devices)(ctx); err != nil {
			return err
		}
	}
	r.mu.Lock()
	j.devices, j.selected = devices, true
	r.mu.Unlock()
	r.setStatus(j, jobs.Running)
	var workers sync.WaitGroup
	defer workers.Wait()
	places := make(chan struct{}, r.opts.Concurrency)
	for i, d := range devices {
		if d.Status != progress.Pending {
			continue
		}
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
			r.device(ctx, j, i, d)
		})
	}
	return nil
}

// device does the job on one device.
func (r *Runner) device(ctx context.Context, j *job, i int, d *progress.Device) {
	r.mu.Lock()
	d.Status, d.Start = jobs.Running, time.Now()
	r.mu.Unlock()
	var err error
	var status int
	var payload []byte
	if j.doc.Type == jobs.TwinUpdate {
		_, err = r.opts.Hub.PatchTwin(ctx, d.ID, j.patch.tags, j.patch.desired, j.patch.etag)
		if err == nil {
			r.meter(len(j.doc.UpdateTwin))
		}
	} else {
		status, payload, err = method.Call(ctx, r.opts.Hub, d.ID, j.doc.Method)
		// The request counts, and so does the answer, also one that did not come (iot-hub-devguide-pricing).
		r.meter(len(j.doc.Method.Payload))
		r.meter(len(payload))
	}
	if err != nil && r.ctx.Err() != nil {
		return // it is not the device that failed: it is tried again when the job goes on
	}
	r.mu.Lock()
	d.End, d.Status = time.Now(), jobs.Completed
	if err != nil {
		d.Status, d.Err = jobs.Failed, iothub.AsError(err)
	} else {
		d.MethodAnswered, d.MethodStatus, d.Payload = j.doc.Type == jobs.DeviceMethod, status, asJSON(payload)
	}
	done := *d
	r.mu.Unlock()
	r.keepDevice(j.doc.JobID, i, &done)
}

// asJSON is a device's answer as a row can hold it: one that is no JSON becomes a text.
func asJSON(answer []byte) json.RawMessage {
	if len(answer) == 0 || json.Valid(answer) {
		return answer
	}
	text, err := json.Marshal(string(answer))
	if err != nil {
		return nil // no string fails
	}
	return text
}

func (r *Runner) meter(bytes int) {
	if r.opts.Meter != nil {
		r.opts.Meter(bytes)
	}
}

// finish gives the job its last state, unless the program ends before it: then it goes on where it is loaded. A job that tried
// all its devices has completed, also when some failed: its statistics say so. Devices it did not come to are cancelled or failed
// with it.
func (r *Runner) finish(ctx context.Context, j *job, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil && r.opts.Keeper != nil && !ended(j.doc.Status) {
		return
	}
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
		if d.Status == progress.Pending || d.Status == jobs.Running {
			d.Status, d.End, d.Err = j.doc.Status, now, left
		}
	}
	r.keepEndLocked(j)
}
