// Package transfer is the import and export of identities in bulk (iot-hub-bulk-identity-mgmt), from and to the hub's own storage.
package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// The kinds and states of jobs.
const (
	Import = "import"
	Export = "export"

	Enqueued  = "enqueued"
	Running   = "running"
	Completed = "completed"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// The blobs of jobs that name none, and that of the errors of an import (iot-hub-bulk-identity-mgmt).
const (
	devicesBlob = "devices.txt"
	errorsBlob  = "importErrors.log"
)

// Job is an import or an export: the body of its creation and, with the later fields, its state.
type Job struct {
	ID          string          `json:"jobId"`                           // given by the hub
	Start       timestamp.Time  `json:"startTimeUtc"`                    // when it was made
	End         *timestamp.Time `json:"endTimeUtc,omitempty"`            // nil until it has ended
	Type        string          `json:"type"`                            // Import or Export
	Status      string          `json:"status"`                          // Enqueued to Cancelled
	Progress    int             `json:"progress"`                        // percent
	InputURI    string          `json:"inputBlobContainerUri,omitempty"` // in the answer to the creation alone
	InputBlob   string          `json:"inputBlobName,omitempty"`         // devices.txt when empty
	OutputURI   string          `json:"outputBlobContainerUri"`          // of an export, and of the errors of an import
	OutputBlob  string          `json:"outputBlobName,omitempty"`        // devices.txt when empty; importErrors.log of an import
	ExcludeKeys bool            `json:"excludeKeysInExport"`             // leaves keys out
	Secondary   bool            `json:"useSecondaryStorageAsSource"`     // always false
	Failure     string          `json:"failureReason,omitempty"`         // of a Failed one

	// Configurations asks for the configurations too, which this hub does not carry: it is refused.
	Configurations bool `json:"includeConfigurations,omitempty"`
}

// Registry is what is imported to and exported from. Errors are [*iothub.Error].
type Registry interface {
	Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error)
	Device(key string) (registry.Identity, error)
	Twin(key string) (*twin.Twin, error)
	Each() iter.Seq[string]
	Put(bucket, key string, value []byte) (durable func(context.Context) error)
	Rows(ctx context.Context, bucket string, each func(key string, value []byte) error) error
}

// Options of a Runner.
type Options struct {
	Registry Registry       // required
	Storage  *blobs.Storage // required
	Logger   *slog.Logger   // nil logs nothing
}

const (
	bucket     = "transfers.1" // of the registry, by id
	keepAtMost = 100           // jobs that have ended
)

// Runner keeps and runs jobs, one at a time. All its goroutines have ended when Close returns.
type Runner struct {
	opts   Options
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup // started only while not closed

	mu     sync.Mutex // protects the following fields
	jobs   map[string]*Job
	stop   context.CancelFunc // of the job that runs; nil when none does
	closed bool
}

// New makes a Runner with the jobs that the registry kept. Those that had not ended have failed with the hub.
func New(ctx context.Context, o Options) (*Runner, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runner{opts: o, log: o.Logger, jobs: make(map[string]*Job)}
	err := o.Registry.Rows(ctx, bucket, func(id string, document []byte) error {
		j := &Job{}
		if err := json.Unmarshal(document, j); err != nil {
			return fmt.Errorf("reading job %s: %w", id, err)
		}
		if !j.ended() {
			j.Status, j.Failure, j.End = Failed, "the hub stopped while the job ran", &timestamp.Time{Time: time.Now().UTC()}
		}
		r.jobs[id] = j
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close cancels the job that runs and waits for it.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.all.Wait()
}

func (j *Job) ended() bool {
	return j.Status == Completed || j.Status == Failed || j.Status == Cancelled
}

// Create takes a job and starts it. Access says whether the query of a container's URI gives access to it. Errors:
// ErrArgumentInvalid, ErrBlobContainer, ErrJobQuotaExceeded while another job runs.
func (r *Runner) Create(in Job, access func(container, query string) error) (Job, error) {
	j, err := checkJob(in, access)
	if err != nil {
		return Job{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return Job{}, iothub.ErrServiceUnavailable
	case r.stop != nil:
		return Job{}, iothub.ErrJobQuotaExceeded.With("Another import or export job is running; there may be one at a time")
	}
	j.doc.ID = uuid.New().String()
	j.doc.Start = timestamp.Time{Time: time.Now().UTC()}
	j.doc.Status = Enqueued
	if err := r.keepLocked(&j.doc); err != nil {
		return Job{}, err
	}
	r.forgetLocked()
	ctx, stop := context.WithCancel(r.ctx)
	r.jobs[j.doc.ID], r.stop = &j.doc, stop
	answer := j.doc
	answer.InputURI, answer.OutputURI = in.InputURI, in.OutputURI
	r.all.Go(func() { r.run(ctx, j) })
	return answer, nil
}

// work is a job with where it reads and writes.
type work struct {
	doc           Job
	input, output string // containers
}

// checkJob refuses what cannot be done before anything is.
func checkJob(in Job, access func(container, query string) error) (*work, error) {
	plain, _, _ := strings.Cut(in.OutputURI, "?") // the access is nobody else's
	w := &work{doc: Job{
		Type: in.Type, InputBlob: in.InputBlob, OutputURI: plain, OutputBlob: in.OutputBlob, ExcludeKeys: in.ExcludeKeys,
	}}
	if in.Configurations {
		return nil, iothub.ErrArgumentInvalid.With("includeConfigurations: this hub imports and exports identities with their twins only")
	}
	find := func(uri string) (string, error) {
		container, query, err := Container(uri)
		if err != nil {
			return "", err
		}
		return container, access(container, query)
	}
	var err error
	switch in.Type {
	case Export:
	case Import:
		if w.input, err = find(in.InputURI); err != nil {
			return nil, err
		}
	default:
		return nil, iothub.ErrArgumentInvalid.With("type must be %s or %s", Import, Export)
	}
	if w.output, err = find(in.OutputURI); err != nil {
		return nil, err
	}
	for _, blob := range []string{in.InputBlob, in.OutputBlob} {
		if blob != "" && blobs.CheckName(blob) != nil {
			return nil, iothub.ErrArgumentInvalid.With("a blob has a name of at most %d bytes, without control characters, and no empty part between its slashes", blobs.MaxName)
		}
	}
	return w, nil
}

// keepLocked writes a job down.
func (r *Runner) keepLocked(j *Job) error {
	document, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("writing job %s: %w", j.ID, err)
	}
	return r.opts.Registry.Put(bucket, j.ID, document)(context.Background())
}

// forgetLocked drops the oldest jobs when there are many.
func (r *Runner) forgetLocked() {
	all := r.sortedLocked()
	for _, j := range all[:max(0, len(all)-keepAtMost)] {
		if j.ended() {
			delete(r.jobs, j.ID)
			r.opts.Registry.Put(bucket, j.ID, nil) // it may be there once more after a crash
		}
	}
}

func (r *Runner) sortedLocked() []*Job {
	all := make([]*Job, 0, len(r.jobs))
	for _, j := range r.jobs {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b *Job) int {
		return cmp.Or(a.Start.Compare(b.Start.Time), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// List is all jobs, the oldest first.
func (r *Runner) List() []Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Job, 0, len(r.jobs))
	for _, j := range r.sortedLocked() {
		out = append(out, *j)
	}
	return out
}

// Job is the state of a job. The error is ErrJobNotFound.
func (r *Runner) Job(id string) (Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.jobs[id]; j != nil {
		return *j, nil
	}
	return Job{}, iothub.ErrJobNotFound.With("job %s not found", id)
}

// Cancel ends a job; what it did stays. One that has ended stays as it is. The error is ErrJobNotFound.
func (r *Runner) Cancel(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.jobs[id]
	if j == nil {
		return iothub.ErrJobNotFound.With("job %s not found", id)
	}
	if !j.ended() {
		j.Status = Cancelled
		r.stop()
	}
	return nil
}

// run does a job, and gives it its last state.
func (r *Runner) run(ctx context.Context, w *work) {
	r.mu.Lock()
	id := w.doc.ID
	if j := r.jobs[id]; j.Status == Enqueued {
		j.Status = Running
	}
	do := r.export
	if w.doc.Type == Import {
		do = r.imports
	}
	r.mu.Unlock()
	err := ctx.Err()
	if err == nil {
		err = do(ctx, w)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.jobs[id]
	r.stop()
	r.stop = nil
	j.End = &timestamp.Time{Time: time.Now().UTC()}
	switch {
	case j.Status == Cancelled:
	case err != nil:
		j.Status, j.Failure = Failed, err.Error()
	default:
		j.Status, j.Progress = Completed, 100
	}
	if err := r.keepLocked(j); err != nil {
		r.log.Warn("the end of a job is not on disk", "job", id, "error", err)
	}
}

// progress notes how far a job is, in percent; only its end is 100.
func (r *Runner) progress(id string, part, whole int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if whole > 0 {
		r.jobs[id].Progress = int(min(99, part*100/whole))
	}
}
