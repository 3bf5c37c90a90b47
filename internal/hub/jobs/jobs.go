// Package jobs carries out scheduled jobs of the embedded hub: twin updates and direct methods on
// all devices that a condition selects (iot-hub-devguide-jobs).
package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/query"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Hub is what jobs do their work with. Errors are *iothub.Error.
type Hub interface {
	PatchTwin(ctx context.Context, id string, tags, desired twin.Value, ifMatch string) (*twin.Twin, error)
	ParseValue(b []byte) (twin.Value, error)
	InvokeMethod(ctx context.Context, deviceID, name string, payload []byte) (int, []byte, error)
}

// Options of a Runner.
type Options struct {
	Hub    Hub          // required
	Source query.Source // required
	// Admit waits until a job may work on one more device; nil lets it go on at once.
	Admit func(ctx context.Context) error
	// Active is how many jobs may run at once; 0 is no limit. Further ones are refused.
	Active int
	// Concurrency is how many devices of a job are worked on at once; 10 when 0.
	Concurrency int
}

// defaultLife is how long a job may take when it does not say: an hour.
const defaultLife = time.Hour

// Runner keeps and runs jobs. All its goroutines have ended when Close returns.
type Runner struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu   sync.Mutex // protects jobs and the state of each
	jobs map[string]*job
}

type job struct {
	doc     iothub.Job
	query   *query.Query
	patch   twinPatch
	cancel  context.CancelFunc
	devices []*deviceJob
}

type twinPatch struct{ tags, desired twin.Value }

// deviceJob is what became of one device.
type deviceJob struct {
	id             string
	status         string // pending, running, completed, failed
	start, end     time.Time
	methodStatus   int
	methodAnswered bool
	payload        json.RawMessage
	err            *iothub.Error
}

// New makes a Runner without jobs.
func New(o Options) *Runner {
	if o.Concurrency == 0 {
		o.Concurrency = 10
	}
	r := &Runner{opts: o, jobs: make(map[string]*job)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close cancels all jobs and waits for them.
func (r *Runner) Close() {
	r.cancel()
	r.all.Wait()
}

// Create takes a job and starts it at its time.
func (r *Runner) Create(in iothub.Job) (iothub.Job, error) {
	j := &job{doc: in}
	if err := r.check(j, in); err != nil {
		return iothub.Job{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.jobs[in.JobID]; taken {
		return iothub.Job{}, iothub.ErrJobExists.With("job %s exists", in.JobID)
	}
	if r.opts.Active > 0 && r.activeLocked() >= r.opts.Active {
		return iothub.Job{}, iothub.ErrTooManyJobs
	}
	now := time.Now()
	j.doc.Created = iothub.Time{Time: now}
	j.doc.Status = iothub.JobQueued
	wait := time.Until(in.Start.Time)
	if in.Start.IsZero() || wait <= 0 {
		wait = 0
	} else {
		j.doc.Status = iothub.JobScheduled
	}
	life := time.Duration(in.MaxExecutionTime) * time.Second
	if life <= 0 {
		life = defaultLife
	}
	ctx, cancel := context.WithTimeout(r.ctx, wait+life)
	j.cancel = cancel
	r.jobs[in.JobID] = j
	r.all.Go(func() { r.run(ctx, j, wait) })
	return j.doc, nil
}

func (r *Runner) check(j *job, in iothub.Job) error {
	var err error
	if j.query, err = query.Condition(in.QueryCondition); err != nil {
		return iothub.ErrArgumentInvalid.With("queryCondition: %v", err)
	}
	switch in.Type {
	case iothub.JobTwinUpdate:
		doc, err := r.opts.Hub.ParseValue(in.UpdateTwin)
		if err != nil || doc.Kind() != twin.Object {
			return iothub.ErrArgumentInvalid.With("updateTwin is no twin patch")
		}
		j.patch = twinPatch{doc.Get("tags"), doc.Path("properties", "desired")}
	case iothub.JobDeviceMethod:
		if in.Method == nil || in.Method.Name == "" {
			return iothub.ErrArgumentInvalid.With("cloudToDeviceMethod needs a methodName")
		}
	default:
		return iothub.ErrArgumentInvalid.With("type must be %s or %s", iothub.JobTwinUpdate, iothub.JobDeviceMethod)
	}
	return nil
}

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
	return status == iothub.JobCompleted || status == iothub.JobFailed || status == iothub.JobCancelled
}

// run waits for the job's time, selects its devices and works on them.
func (r *Runner) run(ctx context.Context, j *job, wait time.Duration) {
	defer j.cancel()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		r.finish(j, ctx)
		return
	}
	var devices []*deviceJob
	for _, t := range allMatches(r.opts.Source, j.query) {
		devices = append(devices, &deviceJob{id: t.DeviceID, status: "pending"})
	}
	r.mu.Lock()
	j.doc.Status = iothub.JobRunning
	j.devices = devices
	r.mu.Unlock()
	var work sync.WaitGroup
	places := make(chan struct{}, r.opts.Concurrency)
	for _, d := range devices {
		if r.opts.Admit != nil && r.opts.Admit(ctx) != nil {
			break
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		work.Go(func() {
			defer func() { <-places }()
			r.device(ctx, j, d)
		})
	}
	work.Wait()
	r.finish(j, ctx)
}

func allMatches(src query.Source, q *query.Query) iter.Seq2[uint32, *twin.Twin] {
	return q.Plan(src).Matches()
}

func (r *Runner) device(ctx context.Context, j *job, d *deviceJob) {
	r.mu.Lock()
	d.status, d.start = "running", time.Now()
	r.mu.Unlock()
	var err error
	var status int
	var payload []byte
	if j.doc.Type == iothub.JobTwinUpdate {
		_, err = r.opts.Hub.PatchTwin(ctx, d.id, j.patch.tags, j.patch.desired, "*")
	} else {
		wait := time.Duration(cmp.Or(j.doc.Method.ResponseTimeout, 30)) * time.Second
		limited, cancel := context.WithTimeout(ctx, wait)
		status, payload, err = r.opts.Hub.InvokeMethod(limited, d.id, j.doc.Method.Name, j.doc.Method.Payload)
		cancel()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.end, d.status = time.Now(), iothub.JobCompleted
	if err != nil {
		d.status, d.err = iothub.JobFailed, iothub.AsError(err)
		return
	}
	d.methodAnswered, d.methodStatus = j.doc.Type == iothub.JobDeviceMethod, status
	if json.Valid(payload) {
		d.payload = payload
	}
}

// finish gives the job its last state. A job whose devices failed has completed: its statistics say so.
func (r *Runner) finish(j *job, ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j.doc.End = &iothub.Time{Time: time.Now()}
	switch {
	case j.doc.Status == iothub.JobCancelled || errors.Is(ctx.Err(), context.Canceled):
		j.doc.Status = iothub.JobCancelled
	case ctx.Err() != nil:
		j.doc.Status = iothub.JobFailed
		j.doc.FailureReason = "the job took longer than its maxExecutionTimeInSeconds"
	default:
		j.doc.Status = iothub.JobCompleted
	}
}

// Job is the state of a job.
func (r *Runner) Job(id string) (iothub.Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, ok := r.jobs[id]
	if !ok {
		return iothub.Job{}, iothub.ErrJobNotFound.With("job %s not found", id)
	}
	return j.state(), nil
}

// state is the job's document with its statistics. The caller holds the lock.
func (j *job) state() iothub.Job {
	doc := j.doc
	s := iothub.JobStatistics{Devices: len(j.devices)}
	for _, d := range j.devices {
		switch d.status {
		case iothub.JobCompleted:
			s.Succeeded++
		case iothub.JobFailed:
			s.Failed++
		case "running":
			s.Running++
		default:
			s.Pending++
		}
	}
	doc.DeviceJobStatistic = &s
	return doc
}

// Cancel ends a job that has not ended.
func (r *Runner) Cancel(id string) (iothub.Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, ok := r.jobs[id]
	switch {
	case !ok:
		return iothub.Job{}, iothub.ErrJobNotFound.With("job %s not found", id)
	case ended(j.doc.Status):
		return iothub.Job{}, iothub.ErrInvalidOperation.With("job %s has ended", id)
	}
	j.doc.Status = iothub.JobCancelled
	j.cancel()
	return j.state(), nil
}

// List tells the jobs of a type and status; an empty one matches all.
func (r *Runner) List(jobType, status string) []iothub.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []iothub.Job
	for _, j := range r.jobs {
		if (jobType == "" || jobType == j.doc.Type) && (status == "" || status == j.doc.Status) {
			out = append(out, j.state())
		}
	}
	slices.SortFunc(out, func(a, b iothub.Job) int {
		return cmp.Or(a.Created.Compare(b.Created.Time), cmp.Compare(a.JobID, b.JobID))
	})
	return out
}

// Query answers one page of a query on devices.jobs.
func (r *Runner) Query(ctx context.Context, q *query.Query, size int, continuation string) (query.Page, error) {
	return q.RunJobs(ctx, slices.Values(r.rows()), size, continuation)
}

func (r *Runner) rows() []query.JobRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rows []query.JobRow
	ids := make([]string, 0, len(r.jobs))
	for id := range r.jobs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		j := r.jobs[id]
		for _, d := range j.devices {
			rows = append(rows, query.JobRow{Value: d.row(j)})
		}
	}
	return rows
}

// row is one device of a job as queries see it.
func (d *deviceJob) row(j *job) twin.Value {
	text := func(key, s string) twin.Member { return twin.Member{Key: key, Value: twin.StringValue(s)} }
	when := func(t time.Time) string { return string(iothub.AppendTime(nil, t)) }
	last := d.end
	if last.IsZero() {
		last = d.start
	}
	members := []twin.Member{
		text("deviceId", d.id), text("jobId", j.doc.JobID), text("jobType", j.doc.Type), text("status", d.status),
		text("startTimeUtc", when(d.start)), text("endTimeUtc", when(d.end)),
		text("createdDateTimeUtc", when(j.doc.Created.Time)), text("lastUpdatedDateTimeUtc", when(last)),
		text("createdTimeUtc", when(j.doc.Created.Time)),
	}
	if d.methodAnswered {
		answer := twin.ObjectValue(twin.Member{Key: "status", Value: twin.IntValue(int64(d.methodStatus))})
		if payload, err := twin.Parse(d.payload); err == nil {
			answer = twin.ObjectValue(twin.Member{Key: "status", Value: twin.IntValue(int64(d.methodStatus))}, twin.Member{Key: "payload", Value: payload})
		}
		members = append(members, twin.Member{Key: "outcome", Value: twin.ObjectValue(twin.Member{Key: "deviceMethodResponse", Value: answer})})
	}
	if d.err != nil {
		members = append(members, twin.Member{Key: "error", Value: twin.ObjectValue(text("code", d.err.Name), text("description", d.err.Message))})
	}
	return twin.ObjectValue(members...)
}
