package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/jobs/progress"
	"github.com/twinfleet/twinfleet/internal/hub/keep"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// The buckets of the Keeper. A job has one row each in the first and, once its devices are known, in the second; while it runs, each
// device that is done has a row in the third, by the job's id and its place in the selection.
const (
	jobRows    = "jobs.1"
	deviceRows = "jobs.devices.1"
	doneRows   = "jobs.done.1"
)

func doneKey(id string, place int) string { return fmt.Sprintf("%s\x00%08d", id, place) }

// keptJob is a job as it is kept.
type keptJob struct {
	Number uint64   // see job
	Job    jobs.Job // its document; statistics are counted anew
}

// put keeps a row of what encoding/json takes.
func (r *Runner) put(bucket, key string, v any) func(context.Context) error {
	if r.opts.Keeper == nil {
		return keep.Nothing
	}
	b, err := json.Marshal(v)
	if err != nil {
		return func(context.Context) error { return fmt.Errorf("keeping a job: %w", err) }
	}
	return r.opts.Keeper.Put(bucket, key, b)
}

func (r *Runner) keep(j *job) func(context.Context) error {
	return r.put(jobRows, j.doc.JobID, keptJob{j.number, j.doc})
}

func (r *Runner) keepSelection(id string, devices []*progress.Device) func(context.Context) error {
	return r.put(deviceRows, id, devices)
}

func (r *Runner) keepDevice(id string, place int, d *progress.Device) {
	r.put(doneRows, doneKey(id, place), d)
}

// keepEndLocked keeps a job that has ended: one row for all its devices takes the place of theirs.
func (r *Runner) keepEndLocked(j *job) {
	if r.opts.Keeper == nil {
		return
	}
	if j.selected {
		r.keepSelection(j.doc.JobID, j.devices)
	}
	r.keep(j)
	for place := range j.devices {
		r.opts.Keeper.Put(doneRows, doneKey(j.doc.JobID, place), nil)
	}
}

// drop forgets what is kept of a job that has ended.
func (r *Runner) drop(id string) {
	if r.opts.Keeper == nil {
		return
	}
	r.opts.Keeper.Put(jobRows, id, nil)
	r.opts.Keeper.Put(deviceRows, id, nil)
}

// Load takes up the jobs that are kept: those that have not ended go on with the devices that are not done. A device whose work was
// under way when the program ended is worked on once more. What cannot be read is told in the log and left out. It is called once,
// before any other method.
func (r *Runner) Load(ctx context.Context) error {
	if r.opts.Keeper == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, bucket := range []struct {
		name string
		take func(key string, value []byte) error
	}{{jobRows, r.takeJob}, {deviceRows, r.takeDevices}, {doneRows, r.takeDone}} {
		err := r.opts.Keeper.Rows(ctx, bucket.name, func(key string, value []byte) error {
			if err := bucket.take(key, value); err != nil {
				r.opts.Logger.Warn("what was kept of a job cannot be read, and is dropped", "bucket", bucket.name, "job", strings.ReplaceAll(key, "\x00", " "), "error", err)
				r.opts.Keeper.Put(bucket.name, key, nil)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading the jobs that were kept: %w", err)
		}
	}
	for _, j := range r.jobs {
		if !ended(j.doc.Status) {
			r.startLocked(j)
		}
	}
	return nil
}

var (
	errNoJob  = errors.New("there is no such job that goes on")
	errNoRows = errors.New("it is no list of devices")
)

// takeJob takes up one job.
func (r *Runner) takeJob(id string, value []byte) error {
	var kept keptJob
	if err := json.Unmarshal(value, &kept); err != nil {
		return err
	}
	j := &job{number: kept.Number, doc: kept.Job, due: kept.Job.Created.Time}
	if j.doc.Start.After(j.due) {
		j.due = j.doc.Start.Time
	}
	if err := r.read(j); err != nil {
		return err
	}
	if ended(j.doc.Status) && j.doc.End == nil {
		j.doc.End = &timestamp.Time{Time: j.due}
	}
	j.doc.JobID = id
	r.jobs[id] = j
	r.last = max(r.last, j.number)
	return nil
}

// takeDevices takes up the devices that a job has selected. Without them it selects anew.
func (r *Runner) takeDevices(id string, value []byte) error {
	j, ok := r.jobs[id]
	if !ok {
		return errNoJob
	}
	var devices []*progress.Device
	if err := json.Unmarshal(value, &devices); err != nil {
		return err
	}
	if slices.Contains(devices, nil) {
		return errNoRows
	}
	j.devices, j.selected = devices, true
	return nil
}

// takeDone takes up what became of one device.
func (r *Runner) takeDone(key string, value []byte) error {
	id, text, _ := strings.Cut(key, "\x00")
	place, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	j, ok := r.jobs[id]
	if !ok || place < 0 || place >= len(j.devices) || ended(j.doc.Status) {
		return errNoJob
	}
	var done progress.Device
	if err := json.Unmarshal(value, &done); err != nil {
		return err
	}
	if done.ID != j.devices[place].ID {
		return errNoRows
	}
	j.devices[place] = &done
	return nil
}
