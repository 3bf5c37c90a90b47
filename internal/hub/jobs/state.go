package jobs

import (
	"cmp"
	"context"
	"slices"

	"github.com/twinfleet/twinfleet/internal/hub/jobs/progress"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
)

// Job is the state of a job.
func (r *Runner) Job(id string) (jobs.Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, ok := r.jobs[id]
	if !ok {
		return jobs.Job{}, iothub.ErrJobNotFound.With("job %s not found", id)
	}
	return j.state(), nil
}

// state is the job's document with its statistics. The caller holds the lock.
func (j *job) state() jobs.Job {
	doc := j.doc
	s := progress.Counts(j.devices)
	doc.DeviceJobStatistic = &s
	return doc
}

// Cancel ends a job that has not ended.
func (r *Runner) Cancel(id string) (jobs.Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, ok := r.jobs[id]
	switch {
	case !ok:
		return jobs.Job{}, iothub.ErrJobNotFound.With("job %s not found", id)
	case ended(j.doc.Status):
		return jobs.Job{}, iothub.ErrInvalidOperation.With("job %s has ended", id)
	}
	j.doc.Status = jobs.Cancelled
	j.cancel()
	return j.state(), nil
}

// List tells the jobs of a type and status; an empty one matches all.
func (r *Runner) List(jobType, status string) []jobs.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []jobs.Job
	for _, j := range r.jobs {
		if (jobType == "" || jobType == j.doc.Type) && (status == "" || status == j.doc.Status) {
			out = append(out, j.state())
		}
	}
	slices.SortFunc(out, func(a, b jobs.Job) int {
		return cmp.Or(a.Created.Compare(b.Created.Time), cmp.Compare(a.JobID, b.JobID))
	})
	return out
}

// Query answers one page of a query on devices.jobs.
func (r *Runner) Query(ctx context.Context, q *query.Query, size int, continuation string) (paging.Page, error) {
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
			rows = append(rows, query.JobRow{Value: d.Row(&j.doc)})
		}
	}
	return rows
}
