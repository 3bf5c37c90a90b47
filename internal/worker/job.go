package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// ErrJob is the class of errors of jobs that ended otherwise than with all their devices done.
var ErrJob = errors.New("the job did not do all its devices")

// Jobs makes scheduled jobs and tells of them.
type Jobs interface {
	CreateJob(ctx context.Context, job jobs.Job) (jobs.Job, error)
	Job(ctx context.Context, id string) (jobs.Job, error)
	CancelJob(ctx context.Context, id string) (jobs.Job, error)
}

// JobRun follows one job from its creation to its end.
type JobRun struct {
	Name     string // the group of its observation
	Job      jobs.Job
	Service  Jobs
	Recorder *metrics.Recorder
	// OnState, which may be nil, is told of the job whenever its state or its counts have changed.
	OnState func(jobs.Job)
}

const (
	pollEvery   = time.Second
	createTries = 30 // a hub of the smallest tier carries out one job at a time
	cancelGrace = 5 * time.Second
)

// Run creates the job, which was intended for a time, and follows it until it has ended. The observation
// runs from the intended time to the first answer that tells of the end, and is good only if the job completed
// and no device failed: ErrJob says what did not. When ctx ends first the job is cancelled.
func (r *JobRun) Run(ctx context.Context, intended time.Time) (jobs.Job, error) {
	series := r.Recorder.Series(metrics.OpJob, r.Name)
	op := series.Start(intended, time.Now())
	job, err := r.follow(ctx)
	if ctx.Err() != nil && !jobEnded(job.Status) {
		op.Unanswered(time.Now(), runEnded)
		return job, context.Cause(ctx)
	}
	if err == nil {
		err = jobError(job)
	}
	op.EndBecause(time.Now(), OutcomeOf(err), reason.Of(err))
	return job, err
}

func jobEnded(status string) bool {
	return status == jobs.Completed || status == jobs.Failed || status == jobs.Cancelled
}

// jobError says what a job that has ended did not do.
func jobError(job jobs.Job) error {
	s := job.DeviceJobStatistic
	switch {
	case job.Status != jobs.Completed:
		return fmt.Errorf("%w: it is %s: %s", ErrJob, job.Status, job.FailureReason)
	case s != nil && s.Failed > 0:
		return fmt.Errorf("%w: %d of %d failed", ErrJob, s.Failed, s.Devices)
	}
	return nil
}

func (r *JobRun) follow(ctx context.Context) (jobs.Job, error) {
	job, err := r.create(ctx)
	if err != nil {
		return job, err
	}
	last := jobs.Job{}
	for !jobEnded(job.Status) {
		r.tell(&last, job)
		if wait.For(ctx, pollEvery) != nil {
			r.cancel()
			return job, nil
		}
		next, err := r.Service.Job(ctx, r.Job.JobID)
		switch {
		case err == nil:
			job = next
		case iothub.Throttled(err): // ask again at the next poll
		case ctx.Err() == nil:
			return job, fmt.Errorf("following job %s: %w", r.Name, err)
		}
	}
	r.tell(&last, job)
	return job, nil
}

// create makes the job. Jobs are not driven by a rate, so it waits while the service has no room for one.
func (r *JobRun) create(ctx context.Context) (jobs.Job, error) {
	for try := 1; ; try++ {
		job, err := r.Service.CreateJob(ctx, r.Job)
		if err == nil {
			return job, nil
		}
		if !iothub.Throttled(err) || try == createTries || wait.For(ctx, pollEvery) != nil {
			return r.Job, fmt.Errorf("creating job %s: %w", r.Name, err)
		}
	}
}

func (r *JobRun) tell(last *jobs.Job, job jobs.Job) {
	same := last.Status == job.Status && (last.DeviceJobStatistic == nil) == (job.DeviceJobStatistic == nil) &&
		(job.DeviceJobStatistic == nil || *last.DeviceJobStatistic == *job.DeviceJobStatistic)
	if *last = job; r.OnState != nil && !same {
		r.OnState(job)
	}
}

// cancel ends a job that the run will not see the end of.
func (r *JobRun) cancel() {
	ctx, cancel := context.WithTimeout(context.Background(), cancelGrace)
	defer cancel()
	_, _ = r.Service.CancelJob(ctx, r.Job.JobID) // it may have ended meanwhile; nobody waits for the answer
}
