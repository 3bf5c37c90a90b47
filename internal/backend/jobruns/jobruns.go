// Package jobruns has the service side run scheduled jobs, and puts into the record what became of them.
package jobruns

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/worker/job"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Run carries the jobs of a scenario out, each at its time, until ctx ends. tagsUnknown is called when one of them writes tags.
func Run(ctx context.Context, b *side.Side, tagsUnknown func()) {
	var all sync.WaitGroup
	for i := range b.Scenario.Service.Jobs {
		all.Go(func() { run(ctx, b, &b.Scenario.Service.Jobs[i], tagsUnknown) })
	}
	all.Wait()
}

func run(ctx context.Context, b *side.Side, x *scenario.Job, tagsUnknown func()) {
	if err := b.Gate.Begin(ctx, x.Stage, x.At); err != nil {
		b.Recorder.Series(metrics.OpJob, x.Name).Drop(time.Now(), metrics.DropStopped)
		b.Ledger.Note("job %s did not begin: the run ended first", x.Name)
		return
	}
	intended := time.Now()
	doc, err := document(b, x)
	if err != nil {
		b.Ledger.Warn("job "+x.Name+" could not begin", err)
		return
	}
	if x.Tags != nil {
		tagsUnknown()
	}
	one := &job.Run{Name: x.Name, Job: doc, Service: b.Target.Service, Recorder: b.Recorder, OnState: func(j jobs.Job) {
		row := jobRow(x, j)
		b.Ledger.Tell(report.Event{Kind: report.KindJob, OK: row.Status != jobs.Failed, Text: "job " + x.Name, Detail: row.String()})
	}}
	ended, err := one.Follow(ctx, intended)
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

// jobID is new with every run: the job's name and the run's start. The service takes 64 letters, digits and hyphens.
func jobID(name string, began time.Time) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name+"-"+began.UTC().Format("20060102-150405.000"))
	return plain[max(0, len(plain)-64):]
}

// document is the body of a job's creation.
func document(b *side.Side, x *scenario.Job) (jobs.Job, error) {
	job := jobs.Job{
		JobID: jobID(x.Name, b.Ledger.Began()), QueryCondition: x.Query,
		Start: timestamp.Time{Time: time.Now()}, MaxExecutionTime: int(x.MaxTime.Seconds()), Type: jobs.TwinUpdate,
	}
	if job.QueryCondition == "" {
		job.QueryCondition = "*"
	}
	if x.Type == "method" {
		job.Type = jobs.DeviceMethod
		job.Method = &methods.Request{Name: x.Method.Name, Payload: x.Method.Payload, ResponseTimeout: methods.Seconds(x.Method.Timeout)}
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
