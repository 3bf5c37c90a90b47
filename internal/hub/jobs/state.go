package jobs

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/jobs/progress"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
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

// Cancel ends a job that has not begun. Errors: ErrJobNotFound, ErrNotInCurrentState for one that runs or has ended (seen at the
// service), ErrServer when that cannot be kept.
func (r *Runner) Cancel(ctx context.Context, id string) (jobs.Job, error) {
	j, durable, err := r.cancelled(id)
	if err != nil {
		return jobs.Job{}, err
	}
	if err := durable(ctx); err != nil {
		return jobs.Job{}, iothub.ErrServer.With("that the job is cancelled cannot be kept")
	}
	return j, nil
}

func (r *Runner) cancelled(id string) (jobs.Job, func(context.Context) error, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, ok := r.jobs[id]
	switch {
	case !ok:
		return jobs.Job{}, nil, iothub.ErrJobNotFound.With("job %s not found", id)
	case j.doc.Status == jobs.Running || ended(j.doc.Status):
		return jobs.Job{}, nil, iothub.ErrNotInCurrentState.With("job %s is %s", id, j.doc.Status)
	}
	j.doc.Status, j.doc.End = jobs.Cancelled, &timestamp.Time{Time: time.Now()}
	if j.cancel != nil {
		j.cancel()
	}
	return j.state(), r.keep(j), nil
}

// List tells at most size jobs of a type and status, an empty one matches all, in the order of their making and behind the
// job of a number; next is the number for those that are left, 0 for none.
func (r *Runner) List(jobType, status string, behind uint64, size int) (list []jobs.Job, next uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.orderedLocked(behind + 1) {
		if (jobType != "" && jobType != j.doc.Type) || (status != "" && status != j.doc.Status) {
			continue
		}
		if len(list) == size {
			return list, next
		}
		list, next = append(list, j.state()), j.number
	}
	return list, 0
}

// orderedLocked is the jobs from a number on.
func (r *Runner) orderedLocked(from uint64) []*job {
	var all []*job
	for _, j := range r.jobs {
		if j.number >= from {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, func(a, b *job) int { return cmp.Compare(a.number, b.number) })
	return all
}

// A row's position is its job's number, and below that its place among the job's devices, in so many bits.
const placeBits = 32

// Query answers one page of a query on devices.jobs.
func (r *Runner) Query(ctx context.Context, q *query.Query, size int, continuation string) (paging.Page, error) {
	return q.RunJobs(ctx, func(from uint64) iter.Seq2[uint64, query.JobRow] { return r.rows(q, from) }, size, continuation)
}

// rowsAtOnce is how many rows are made each time the lock is taken.
const rowsAtOnce = 256

// rows makes the rows from a position on, few at a time: neither the lock nor the memory is held for all of them. Of a query for one
// job it makes no others.
func (r *Runner) rows(q *query.Query, from uint64) iter.Seq2[uint64, query.JobRow] {
	return func(yield func(uint64, query.JobRow) bool) {
		only, one := q.Equals("jobId")
		r.mu.Lock()
		all := r.orderedLocked(from >> placeBits)
		r.mu.Unlock()
		rows := make([]query.JobRow, 0, rowsAtOnce)
		for _, j := range all {
			if one && j.doc.JobID != only {
				continue
			}
			place := 0
			if j.number == from>>placeBits {
				place = int(from & (1<<placeBits - 1))
			}
			for {
				r.mu.Lock()
				rows = rows[:0]
				for _, d := range j.devices[min(place, len(j.devices)):min(place+rowsAtOnce, len(j.devices))] {
					rows = append(rows, query.JobRow{Value: d.Row(&j.doc)})
				}
				r.mu.Unlock()
				if len(rows) == 0 {
					break
				}
				for i, row := range rows {
					if !yield(j.number<<placeBits|uint64(place+i), row) {
						return
					}
				}
				place += len(rows)
			}
		}
	}
}
