package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/job"
	"github.com/twinfleet/twinfleet/internal/worker/method"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
	"github.com/twinfleet/twinfleet/internal/worker/rollout"
	"github.com/twinfleet/twinfleet/internal/worker/twinread"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// runActivities runs what the service side does beside tagging and queries, until ctx ends.
func (b *Backend) runActivities(ctx context.Context) {
	var all sync.WaitGroup
	if b.audit != nil {
		all.Go(func() { b.runAudit(ctx) })
	}
	for i, r := range b.rollouts {
		all.Go(func() { b.runRollout(ctx, &b.Scenario.Service.Rollouts[i], r) })
	}
	for i := range b.Scenario.Service.Jobs {
		all.Go(func() { b.runJob(ctx, &b.Scenario.Service.Jobs[i]) })
	}
	b.runLoads(ctx, &all)
	all.Wait()
}

// runLoads starts what goes at a rate: direct methods and twin reads.
func (b *Backend) runLoads(ctx context.Context, all *sync.WaitGroup) {
	run := func(op metrics.Operation, name string, r *scenario.Range, stages []string, do func(context.Context, int64) error) {
		load := &pace.Load{
			Series: b.Recorder.Series(op, name), From: r.From, To: r.To, Do: do,
			Windows: b.Gate.Windows(stages, b.planned()), Codes: new(failure.Codes),
		}
		all.Go(func() {
			load.Run(ctx)
			b.addErrors(string(op)+" "+name, load.Codes)
		})
	}
	for i := range b.Scenario.Service.Methods {
		m := &b.Scenario.Service.Methods[i]
		g := b.Scenario.Group(m.Group)
		order := pace.Order(b.Scenario.Seed, "method "+m.Name, g.Count)
		do := method.Call(b.Target.Paced, b.Identities.Of(g), order, m.Method, m.Payload, m.Timeout)
		run(metrics.OpMethod, m.Name, m.Rate, m.Stages, do)
	}
	for i := range b.Scenario.Service.TwinReads {
		t := &b.Scenario.Service.TwinReads[i]
		g := b.Scenario.Group(t.Group)
		order := pace.Order(b.Scenario.Seed, fmt.Sprintf("twin_reads %d", i), g.Count)
		run(metrics.OpTwinRead, t.Group, t.Rate, t.Stages, twinread.Read(b.Target.Paced, b.Identities.Of(g), order))
	}
}

// planned is how long the stages last together; 0 when one of them has no length of its own.
func (b *Backend) planned() time.Duration {
	var sum time.Duration
	for i := range b.Scenario.Stages {
		if b.Scenario.Stages[i].Duration == 0 {
			return 0
		}
		sum += b.Scenario.Stages[i].Duration
	}
	return sum
}

// addErrors puts the errors of one of the worker's tasks into the record.
func (b *Backend) addErrors(task string, codes *failure.Codes) {
	b.Ledger.Write(func(r *report.Run) {
		for _, c := range codes.List() {
			r.ServiceErrors = append(r.ServiceErrors, report.ServiceError{Task: task, Code: c.Code, Count: c.Count})
		}
	})
}

// newRollouts makes the scenario's rollouts.
func (b *Backend) newRollouts() []*rollout.Rollout {
	var out []*rollout.Rollout
	for i := range b.Scenario.Service.Rollouts {
		x := &b.Scenario.Service.Rollouts[i]
		g := b.Scenario.Group(x.Group)
		r := &rollout.Rollout{
			Name: x.Name, Group: g.Name, First: b.Identities.First(g), IDs: b.Identities.Of(g), Properties: x.Properties,
			Rate: x.Rate.To, Timeout: x.Timeout, StopOver: x.StopOver, Answers: g.Answer, Seed: b.Scenario.Seed,
			Service: b.Target.Paced, Recorder: b.Recorder, Codes: new(failure.Codes),
		}
		for _, w := range x.Waves {
			r.Waves = append(r.Waves, rollout.Wave{Percent: w.Percent, For: w.For})
		}
		r.OnWave = func(w rollout.WaveResult) { b.waveEnded(x, w) }
		r.Prepare()
		out = append(out, r)
	}
	return out
}

func (b *Backend) runRollout(ctx context.Context, x *scenario.Rollout, r *rollout.Rollout) {
	if err := b.Gate.Begin(ctx, x.Stage, x.At); err != nil {
		b.Ledger.Note("rollout %s did not begin: the run ended first", x.Name)
		return
	}
	detail := fmt.Sprintf("%d waves to %s of %s begin", len(x.Waves), human.Number(len(r.IDs), "device"), x.Group)
	b.Ledger.Tell(report.Event{Kind: report.KindRollout, OK: true, Text: "rollout " + x.Name, Detail: detail})
	if _, err := r.Run(ctx); err != nil {
		b.Ledger.Warn("rollout "+x.Name+" could not begin", err)
	}
	b.addErrors("rollout "+x.Name, r.Codes)
}

func (b *Backend) waveEnded(x *scenario.Rollout, w rollout.WaveResult) {
	row := report.Wave{
		Rollout: x.Name, Group: x.Group, Number: w.Number, Of: len(x.Waves), Percent: w.Percent, Devices: w.Devices,
		Patched: w.Patched, Told: w.Told, Answered: w.Answered, Failed: w.Failed, Took: w.Took, Stopped: w.Stopped,
	}
	b.Ledger.Write(func(r *report.Run) { r.Waves = append(r.Waves, row) })
	b.Ledger.Tell(report.Event{Kind: report.KindRollout, OK: !w.Stopped, Text: "rollout " + x.Name, Detail: row.String()})
}

func (b *Backend) runJob(ctx context.Context, x *scenario.Job) {
	if err := b.Gate.Begin(ctx, x.Stage, x.At); err != nil {
		b.Recorder.Series(metrics.OpJob, x.Name).Drop(time.Now(), metrics.DropStopped)
		b.Ledger.Note("job %s did not begin: the run ended first", x.Name)
		return
	}
	intended := time.Now()
	doc, err := b.jobDocument(x)
	if err != nil {
		b.Ledger.Warn("job "+x.Name+" could not begin", err)
		return
	}
	if x.Tags != nil && b.audit != nil {
		b.audit.TagsUnknown()
	}
	run := &job.Run{Name: x.Name, Job: doc, Service: b.Target.Service, Recorder: b.Recorder, OnState: func(j jobs.Job) {
		row := jobRow(x, j)
		b.Ledger.Tell(report.Event{Kind: report.KindJob, OK: row.Status != jobs.Failed, Text: "job " + x.Name, Detail: row.String()})
	}}
	ended, err := run.Follow(ctx, intended)
	row := jobRow(x, ended)
	row.Took = time.Since(intended)
	switch {
	case errors.Is(err, context.Canceled):
		row.Error = "the run ended first"
	case err != nil:
		row.Error = err.Error()
	}
	b.Ledger.Write(func(r *report.Run) { r.Jobs = append(r.Jobs, row) })
}

// jobDocument is the body of a job's creation. Its id is new with every run.
func (b *Backend) jobDocument(x *scenario.Job) (jobs.Job, error) {
	job := jobs.Job{
		JobID: x.Name + "-" + b.Ledger.Began().UTC().Format("20060102-150405.000"), QueryCondition: x.Query,
		Start: timestamp.Time{Time: time.Now()}, MaxExecutionTime: int(x.MaxTime.Seconds()), Type: jobs.TwinUpdate,
	}
	if job.QueryCondition == "" {
		job.QueryCondition = "*"
	}
	if x.Type == "method" {
		job.Type = jobs.DeviceMethod
		job.Method = &methods.Request{Name: x.Method.Name, Payload: x.Method.Payload, ResponseTimeout: int(x.Method.Timeout.Seconds())}
		return job, nil
	}
	patch := map[string]any{"etag": "*"}
	if x.Tags != nil {
		patch["tags"] = x.Tags
	}
	if x.Desired != nil {
		patch["properties"] = map[string]any{"desired": x.Desired}
	}
	var err error
	job.UpdateTwin, err = json.Marshal(patch)
	return job, err
}

func jobRow(x *scenario.Job, j jobs.Job) report.Job {
	row := report.Job{Name: x.Name, Type: x.Type, ID: j.JobID, Status: j.Status}
	if s := j.DeviceJobStatistic; s != nil {
		row.Devices, row.Succeeded, row.Failed = s.Devices, s.Succeeded, s.Failed
	}
	return row
}
