// Package job follows scheduled jobs from their creation to their end.
package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// ErrIncomplete is the class of errors of jobs that ended otherwise than with all their devices done.
var ErrIncomplete = errors.New("the job did not do all its devices")

// Service makes scheduled jobs.
type Service interface {
	// CreateJob schedules a job, which has its id.
	CreateJob(ctx context.Context, job jobs.Job) (jobs.Job, error)
	// Job tells of a job.
	Job(ctx context.Context, id string) (jobs.Job, error)
	// CancelJob ends a job.
	CancelJob(ctx context.Context, id string) (jobs.Job, error)
}

// Run is one job from its creation to its end.
type Run struct {
	Name     string            // the group of its observation
	Job      jobs.Job          // as it is created, with its id
	Service  Service           // required
	Recorder *metrics.Recorder // required
	// OnState, which may be nil, is told of the job whenever its state or its counts have changed.
	OnState func(jobs.Job)
}

const (
	pollEvery   = time.Second
	createTries = 30 // a hub of the smallest tier carries out one job at a time
	cancelGrace = 5 * time.Second
)

// Follow creates the job, which was intended for a time, and follows it until it has ended. The observation
// runs from the intended time to the first answer that tells of the end, and is good only if the job completed
// and no device failed: ErrIncomplete says what did not. When ctx ends first the job is cancelled.
func (r *Run) Follow(ctx context.Context, intended time.Time) (jobs.Job, error) {
	series := r.Recorder.Series(metrics.OpJob, r.Name)
	op := series.Start(intended, time.Now())
	job, err := r.untilEnded(ctx)
	if ctx.Err() != nil && !ended(job.Status) {
		op.Unanswered(time.Now(), call.RunEnded)
		return job, context.Cause(ctx)
	}
	if err == nil {
		err = failed(job)
	}
	op.EndBecause(time.Now(), call.Outcome(err), reason.Of(err))
	return job, err
}

func ended(status string) bool {
	return status == jobs.Completed || status == jobs.Failed || status == jobs.Cancelled
}

// failed says what a job that has ended did not do.
func failed(job jobs.Job) error {
	s := job.DeviceJobStatistic
	switch {
	case job.Status != jobs.Completed:
		return fmt.Errorf("%w: it is %s: %s", ErrIncomplete, job.Status, job.FailureReason)
	case s != nil && s.Failed > 0:
		return fmt.Errorf("%w: %d of %d failed", ErrIncomplete, s.Failed, s.Devices)
	}
	return nil
}

func (r *Run) untilEnded(ctx context.Context) (jobs.Job, error) {
	job, err := r.create(ctx)
	if err != nil {
		return job, err
	}
	last := jobs.Job{}
	for !ended(job.Status) {
		r.tell(&last, job)
		if wait.For(ctx, pollEvery) != nil {
			r.cancel()
			return job, nil
		}
		next, err := r.Service.Job(ctx, r.Job.JobID)
		switch {
		case err == nil:
			job = next
		case iothub.Throttled(err): // the next poll asks once more
		case ctx.Err() == nil:
			return job, fmt.Errorf("following job %s: %w", r.Name, err)
		}
	}
	r.tell(&last, job)
	return job, nil
}

// create makes the job. Jobs are not driven by a rate, so it waits while the service has no room for one.
func (r *Run) create(ctx context.Context) (jobs.Job, error) {
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

func (r *Run) tell(last *jobs.Job, job jobs.Job) {
	same := last.Status == job.Status && (last.DeviceJobStatistic == nil) == (job.DeviceJobStatistic == nil) &&
		(job.DeviceJobStatistic == nil || *last.DeviceJobStatistic == *job.DeviceJobStatistic)
	if *last = job; r.OnState != nil && !same {
		r.OnState(job)
	}
}

// cancel ends a job that the run will not see the end of.
func (r *Run) cancel() {
	ctx, cancel := context.WithTimeout(context.Background(), cancelGrace)
	defer cancel()
	_, _ = r.Service.CancelJob(ctx, r.Job.JobID) // it may have ended meanwhile; nobody waits for the answer
}
