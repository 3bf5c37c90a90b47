package several

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
)

// cancelGrace is how long taking back a job may take that not all hubs took.
const cancelGrace = 5 * time.Second

// CreateJob schedules a job at all hubs. When one of them refuses it, those that took it are told to cancel it.
func (h *Hubs) CreateJob(ctx context.Context, job jobs.Job) (jobs.Job, error) {
	parts, took := make([]jobs.Job, len(h.of)), make([]bool, len(h.of))
	err := parted(ctx, len(h.of), func(i int) (err error) {
		parts[i], err = h.of[i].CreateJob(ctx, job)
		took[i] = err == nil
		return err
	})
	if err == nil {
		return together(parts), nil
	}
	if slices.Contains(took, true) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
		defer cancel()
		_, _ = ask(h.of, func(i int, hub Service) (jobs.Job, error) {
			if !took[i] {
				return jobs.Job{}, nil
			}
			return hub.CancelJob(ctx, job.JobID) // it may have ended meanwhile
		})
	}
	return job, err
}

// Job reads the state of a job at all hubs: it has ended when it has ended at all of them, and its devices are those of all.
func (h *Hubs) Job(ctx context.Context, id string) (jobs.Job, error) {
	parts, err := ask(h.of, func(_ int, hub Service) (jobs.Job, error) { return hub.Job(ctx, id) })
	if err != nil {
		return jobs.Job{}, err
	}
	return together(parts), nil
}

// CancelJob cancels a job at all hubs.
func (h *Hubs) CancelJob(ctx context.Context, id string) (jobs.Job, error) {
	parts, err := ask(h.of, func(_ int, hub Service) (jobs.Job, error) { return hub.CancelJob(ctx, id) })
	if err != nil {
		return jobs.Job{}, err
	}
	return together(parts), nil
}

// together is one job of several hubs'. The state that is furthest from a good end is that of all.
func together(parts []jobs.Job) jobs.Job {
	states := []string{jobs.Running, jobs.Queued, jobs.Scheduled, jobs.Failed, jobs.Cancelled, jobs.Completed}
	rank := func(status string) int {
		if i := slices.Index(states, status); i >= 0 {
			return i
		}
		return 0 // one that nobody knows has not ended
	}
	out := parts[0]
	var sum jobs.Statistics
	counted := true
	for _, j := range parts {
		if rank(j.Status) < rank(out.Status) {
			out.Status, out.FailureReason, out.StatusMessage = j.Status, j.FailureReason, j.StatusMessage
		}
		switch {
		case out.End == nil || j.End == nil:
			out.End = nil
		case j.End.After(out.End.Time):
			out.End = j.End
		}
		if j.Start.Before(out.Start.Time) {
			out.Start = j.Start
		}
		if j.DeviceJobStatistic == nil {
			counted = false
			continue
		}
		s := j.DeviceJobStatistic
		sum.Devices, sum.Failed, sum.Succeeded = sum.Devices+s.Devices, sum.Failed+s.Failed, sum.Succeeded+s.Succeeded
		sum.Running, sum.Pending = sum.Running+s.Running, sum.Pending+s.Pending
	}
	out.DeviceJobStatistic = nil
	if counted {
		out.DeviceJobStatistic = &sum
	}
	return out
}

// PutConfiguration makes a configuration at all hubs. One with an ETag is of one hub: it is refused.
func (h *Hubs) PutConfiguration(ctx context.Context, doc configuration.Configuration) (configuration.Configuration, error) {
	if doc.ETag != "" {
		return doc, iothub.ErrPreconditionFailed
	}
	parts := make([]configuration.Configuration, len(h.of))
	if err := parted(ctx, len(h.of), func(i int) (err error) {
		parts[i], err = h.of[i].PutConfiguration(ctx, doc)
		return err
	}); err != nil {
		return doc, err
	}
	return counted(parts), nil
}

// Configuration reads a configuration at all hubs. Its system metrics are the sums of all; it has no others, and no ETag.
func (h *Hubs) Configuration(ctx context.Context, id string) (configuration.Configuration, error) {
	parts, err := ask(h.of, func(_ int, hub Service) (configuration.Configuration, error) { return hub.Configuration(ctx, id) })
	if err != nil {
		return configuration.Configuration{}, err
	}
	return counted(parts), nil
}

// counted is one configuration of several hubs'. A system metric that one hub has not counted yet is not counted.
func counted(parts []configuration.Configuration) configuration.Configuration {
	out := parts[0]
	out.ETag, out.Metrics.Results, out.SystemMetrics.Results = "", nil, make(map[string]int64)
	for _, name := range []string{configuration.TargetedCount, configuration.AppliedCount} {
		sum, all := int64(0), true
		for _, c := range parts {
			n, ok := c.SystemMetrics.Results[name]
			sum, all = sum+n, all && ok
		}
		if all {
			out.SystemMetrics.Results[name] = sum
		}
	}
	return out
}

// DeleteConfiguration removes a configuration at all hubs. Where there is none there is nothing to remove, unless there is none at all.
func (h *Hubs) DeleteConfiguration(ctx context.Context, id string) error {
	errs := make([]error, len(h.of))
	_, _ = ask(h.of, func(i int, hub Service) (struct{}, error) {
		errs[i] = hub.DeleteConfiguration(ctx, id)
		return struct{}{}, nil
	})
	missing := 0
	for i, err := range errs {
		if errors.Is(err, iothub.ErrConfigurationNotFound) {
			missing++
			errs[i] = nil
		}
	}
	if missing == len(errs) {
		return iothub.ErrConfigurationNotFound
	}
	return worst(errs)
}
