package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// runActivities runs what the service side does beside tagging and queries, until ctx ends.
func (e *Engine) runActivities(ctx context.Context) {
	if !e.target.Can.Service {
		return
	}
	var all sync.WaitGroup
	if e.service.audit != nil {
		all.Go(func() { e.runAudit(ctx) })
	}
	for i, r := range e.service.rollouts {
		all.Go(func() { e.runRollout(ctx, &e.sc.Service.Rollouts[i], r) })
	}
	for i := range e.sc.Service.Jobs {
		all.Go(func() { e.runJob(ctx, &e.sc.Service.Jobs[i]) })
	}
	e.runLoads(ctx, &all)
	all.Wait()
}

// runLoads starts what goes at a rate: direct methods and twin reads.
func (e *Engine) runLoads(ctx context.Context, all *sync.WaitGroup) {
	run := func(op metrics.Operation, name string, r *scenario.Range, stages []string, do func(context.Context, int64) error) {
		load := &worker.Load{
			Series: e.rec.Series(op, name), From: r.From, To: r.To, Do: do,
			Windows: e.gate.windows(stages, e.planned()), Codes: new(worker.Codes),
		}
		all.Go(func() {
			load.Run(ctx)
			e.addErrors(string(op)+" "+name, load.Codes)
		})
	}
	for i := range e.sc.Service.Methods {
		m := &e.sc.Service.Methods[i]
		g := e.sc.Group(m.Group)
		order := worker.Order(e.sc.Seed, "method "+m.Name, g.Count)
		run(metrics.OpMethod, m.Name, m.Rate, m.Stages, worker.CallMethod(e.target.Paced, e.groupIDs(g), order, m.Method, m.Payload, m.Timeout))
	}
	for i := range e.sc.Service.TwinReads {
		t := &e.sc.Service.TwinReads[i]
		g := e.sc.Group(t.Group)
		order := worker.Order(e.sc.Seed, fmt.Sprintf("twin_reads %d", i), g.Count)
		run(metrics.OpTwinRead, t.Group, t.Rate, t.Stages, worker.ReadTwins(e.target.Paced, e.groupIDs(g), order))
	}
}

// planned is how long the stages last together; 0 when one of them has no length of its own.
func (e *Engine) planned() time.Duration {
	var sum time.Duration
	for i := range e.sc.Stages {
		if e.sc.Stages[i].Duration == 0 {
			return 0
		}
		sum += e.sc.Stages[i].Duration
	}
	return sum
}

// addErrors puts the errors of one of the worker's tasks into the record.
func (e *Engine) addErrors(task string, codes *worker.Codes) {
	e.ledger.Write(func(r *report.Run) {
		for _, c := range codes.List() {
			r.ServiceErrors = append(r.ServiceErrors, report.ServiceError{Task: task, Code: c.Code, Count: c.Count})
		}
	})
}

// rollouts makes the scenario's rollouts.
func (e *Engine) rollouts() []*worker.Rollout {
	var out []*worker.Rollout
	for i := range e.sc.Service.Rollouts {
		x := &e.sc.Service.Rollouts[i]
		g := e.sc.Group(x.Group)
		r := &worker.Rollout{
			Name: x.Name, Group: g.Name, First: e.firstOf(g), IDs: e.groupIDs(g), Properties: x.Properties,
			Rate: x.Rate.To, Timeout: x.Timeout, StopOver: x.StopOver, Answers: g.Answer, Seed: e.sc.Seed,
			Service: e.target.Paced, Recorder: e.rec, Codes: new(worker.Codes),
		}
		for _, w := range x.Waves {
			r.Waves = append(r.Waves, worker.Wave{Percent: w.Percent, For: w.For})
		}
		r.OnWave = func(w worker.WaveResult) { e.waveEnded(x, w) }
		r.Prepare()
		out = append(out, r)
	}
	return out
}

func (e *Engine) runRollout(ctx context.Context, x *scenario.Rollout, r *worker.Rollout) {
	if err := e.gate.begin(ctx, x.Stage, x.At); err != nil {
		e.ledger.Note("rollout %s did not begin: the run ended first", x.Name)
		return
	}
	e.ledger.Tell(report.Event{Kind: report.KindRollout, OK: true, Text: "rollout " + x.Name, Detail: fmt.Sprintf("%d waves to %s of %s begin", len(x.Waves), devices(len(r.IDs)), x.Group)})
	if _, err := r.Run(ctx); err != nil {
		e.ledger.Warn("rollout "+x.Name+" could not begin", err)
	}
	e.addErrors("rollout "+x.Name, r.Codes)
}

func (e *Engine) waveEnded(x *scenario.Rollout, w worker.WaveResult) {
	row := report.Wave{
		Rollout: x.Name, Group: x.Group, Number: w.Number, Of: len(x.Waves), Percent: w.Percent, Devices: w.Devices,
		Patched: w.Patched, Told: w.Told, Answered: w.Answered, Failed: w.Failed, Took: w.Took, Stopped: w.Stopped,
	}
	e.ledger.Write(func(r *report.Run) { r.Waves = append(r.Waves, row) })
	e.ledger.Tell(report.Event{Kind: report.KindRollout, OK: !w.Stopped, Text: "rollout " + x.Name, Detail: row.String()})
}

func (e *Engine) runJob(ctx context.Context, x *scenario.Job) {
	if err := e.gate.begin(ctx, x.Stage, x.At); err != nil {
		e.rec.Series(metrics.OpJob, x.Name).Drop(time.Now(), metrics.DropStopped)
		e.ledger.Note("job %s did not begin: the run ended first", x.Name)
		return
	}
	intended := time.Now()
	doc, err := e.jobDocument(x)
	if err != nil {
		e.ledger.Warn("job "+x.Name+" could not begin", err)
		return
	}
	if x.Tags != nil && e.service.audit != nil {
		e.service.audit.TagsUnknown()
	}
	run := &worker.JobRun{Name: x.Name, Job: doc, Service: e.target.Service, Recorder: e.rec, OnState: func(j iothub.Job) {
		row := jobRow(x, j)
		e.ledger.Tell(report.Event{Kind: report.KindJob, OK: row.Status != iothub.JobFailed, Text: "job " + x.Name, Detail: row.String()})
	}}
	job, err := run.Run(ctx, intended)
	row := jobRow(x, job)
	row.Took = time.Since(intended)
	switch {
	case errors.Is(err, context.Canceled):
		row.Error = "the run ended first"
	case err != nil:
		row.Error = err.Error()
	}
	e.ledger.Write(func(r *report.Run) { r.Jobs = append(r.Jobs, row) })
}

// jobDocument is the body of a job's creation. Its id is new with every run.
func (e *Engine) jobDocument(x *scenario.Job) (iothub.Job, error) {
	job := iothub.Job{
		JobID: x.Name + "-" + e.ledger.Began().UTC().Format("20060102-150405.000"), QueryCondition: x.Query,
		Start: iothub.Time{Time: time.Now()}, MaxExecutionTime: int(x.MaxTime.Seconds()), Type: iothub.JobTwinUpdate,
	}
	if job.QueryCondition == "" {
		job.QueryCondition = "*"
	}
	if x.Type == "method" {
		job.Type = iothub.JobDeviceMethod
		job.Method = &iothub.MethodRequest{Name: x.Method.Name, Payload: x.Method.Payload, ResponseTimeout: int(x.Method.Timeout.Seconds())}
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

func jobRow(x *scenario.Job, j iothub.Job) report.Job {
	row := report.Job{Name: x.Name, Type: x.Type, ID: j.JobID, Status: j.Status}
	if s := j.DeviceJobStatistic; s != nil {
		row.Devices, row.Succeeded, row.Failed = s.Devices, s.Succeeded, s.Failed
	}
	return row
}
