package job_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/worker/job"
	"github.com/twinfleet/twinfleet/metrics"
)

// oneJob is a service that carries out one job, a step at every poll.
type oneJob struct {
	busy    int // creations that are throttled
	states  []jobs.Job
	polls   int
	failAt  int
	cancels int
}

func (j *oneJob) CreateJob(_ context.Context, in jobs.Job) (jobs.Job, error) {
	if j.busy > 0 {
		j.busy--
		return jobs.Job{}, iothub.ErrTooManyJobs
	}
	in.Status = jobs.Queued
	return in, nil
}

func (j *oneJob) Job(context.Context, string) (jobs.Job, error) {
	j.polls++
	if j.polls == j.failAt {
		return jobs.Job{}, iothub.ErrServer
	}
	if j.polls > len(j.states) {
		return j.states[len(j.states)-1], nil
	}
	return j.states[j.polls-1], nil
}

func (j *oneJob) CancelJob(context.Context, string) (jobs.Job, error) {
	j.cancels++
	return jobs.Job{Status: jobs.Cancelled}, nil
}

func TestJobs(t *testing.T) {
	state := func(status string, succeeded, failed int) jobs.Job {
		return jobs.Job{Status: status, DeviceJobStatistic: &jobs.Statistics{Devices: 10, Succeeded: succeeded, Failed: failed}}
	}
	running := state(jobs.Running, 3, 0)
	for _, tt := range []struct {
		name    string
		service *oneJob
		outcome metrics.Outcome
		took    time.Duration
		told    int // states that the observer saw
		want    error
	}{
		{"done", &oneJob{states: []jobs.Job{running, running, state(jobs.Completed, 10, 0)}}, metrics.OK, 3 * time.Second, 3, nil},
		{"waits for room", &oneJob{busy: 4, states: []jobs.Job{state(jobs.Completed, 10, 0)}}, metrics.OK, 5 * time.Second, 2, nil},
		{"no room", &oneJob{busy: 100, states: []jobs.Job{running}}, metrics.Throttled, 29 * time.Second, 0, iothub.ErrTooManyJobs},
		{"devices failed", &oneJob{states: []jobs.Job{state(jobs.Completed, 8, 2)}}, metrics.Failed, time.Second, 2, job.ErrIncomplete},
		{"failed", &oneJob{states: []jobs.Job{running, state(jobs.Failed, 3, 0)}}, metrics.Failed, 2 * time.Second, 3, job.ErrIncomplete},
		{"cannot be followed", &oneJob{states: []jobs.Job{running}, failAt: 2}, metrics.Failed, 2 * time.Second, 2, iothub.ErrServer},
	} {
		synctest.Test(t, func(t *testing.T) {
			rec := metrics.NewRecorder(metrics.Options{})
			told := 0
			run := job.Run{
				Name: "j", Job: jobs.Job{JobID: "j-1"}, Service: tt.service, Recorder: rec,
				OnState: func(jobs.Job) { told++ },
			}
			_, err := run.Follow(t.Context(), time.Now())
			x := rec.Snapshot().Find(metrics.OpJob, "j")
			if !errors.Is(err, tt.want) || x.Count(tt.outcome) != 1 || x.Ended() != 1 || told != tt.told {
				t.Errorf("%s: %v, %d %s, told %d states; want %v, 1, %d", tt.name, err, x.Count(tt.outcome), tt.outcome, told, tt.want, tt.told)
			}
			if got := x.Latency(false).Maximum().Round(10 * time.Millisecond); got != tt.took {
				t.Errorf("%s took %v; want %v", tt.name, got, tt.took)
			}
		})
	}
}

// A run that ends before its job does takes the job with it.
func TestJobIsCancelledWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		service := &oneJob{states: []jobs.Job{{Status: jobs.Running}}}
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		_, err := (&job.Run{Name: "j", Service: service, Recorder: rec}).Follow(ctx, time.Now())
		x := rec.Snapshot().Find(metrics.OpJob, "j")
		if !errors.Is(err, context.DeadlineExceeded) || x.Count(metrics.Unanswered) != 1 || service.cancels != 1 {
			t.Errorf("%v, %d unanswered, cancelled %d times; want once", err, x.Count(metrics.Unanswered), service.cancels)
		}
	})
}
