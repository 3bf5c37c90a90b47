package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/jobs"
	"github.com/twinfleet/twinfleet/internal/hub/store"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	document "github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet is a store of devices that answer methods after a while, those with an odd number not at all.
type fleet struct {
	*store.Store
	takes time.Duration

	mu    sync.Mutex // protects the following fields
	now   int        // calls under way
	most  int        // calls that were under way at once
	calls int
}

func (f *fleet) InvokeMethod(ctx context.Context, id, name string, payload []byte) (int, []byte, error) {
	if strings.IndexByte("13579", id[len(id)-1]) >= 0 {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	f.mu.Lock()
	f.now++
	f.calls++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.now--
	}()
	select {
	case <-time.After(f.takes):
		return 200, []byte(fmt.Sprintf(`{"did":%q}`, name)), nil
	case <-ctx.Done():
		return 0, nil, iothub.ErrMethodTimeout
	}
}

// bench is a runner over a fleet of so many devices dev-0, dev-1 …, in a bubble.
type bench struct {
	*testing.T
	*jobs.Runner
	fleet   *fleet
	metered []int // bytes of the operations that were counted
	mu      sync.Mutex
}

func inBubble(t *testing.T, devices int, o jobs.Options, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(t.Context(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range devices {
			if _, err := s.CreateDevice(t.Context(), registry.Identity{DeviceID: fmt.Sprint("dev-", i)}); err != nil {
				t.Fatal(err)
			}
		}
		b := &bench{T: t, fleet: &fleet{Store: s, takes: time.Second}}
		o.Hub, o.Source = b.fleet, s
		o.Meter = func(n int) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.metered = append(b.metered, n)
		}
		b.Runner = jobs.New(o)
		test(b)
		b.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (b *bench) create(j document.Job) document.Job {
	b.Helper()
	made, err := b.Create(b.Context(), j)
	if err != nil {
		b.Fatal(err)
	}
	return made
}

// state describes a job: its status, and of how many devices what became.
func (b *bench) state(id string) string {
	b.Helper()
	j, err := b.Job(id)
	if err != nil {
		b.Fatal(err)
	}
	s := j.DeviceJobStatistic
	return fmt.Sprintf("%s %d/%d/%d/%d of %d", j.Status, s.Succeeded, s.Failed, s.Running, s.Pending, s.Devices)
}

func (b *bench) expect(id, want string) {
	b.Helper()
	synctest.Wait()
	if got := b.state(id); got != want {
		b.Errorf("job %s: %s; want %s", id, got, want)
	}
}

func update(id, condition, patch string) document.Job {
	return document.Job{JobID: id, Type: document.TwinUpdate, QueryCondition: condition, UpdateTwin: json.RawMessage(patch)}
}

func call(id, condition string) document.Job {
	return document.Job{
		JobID: id, Type: document.DeviceMethod, QueryCondition: condition,
		Method: &methods.Request{Name: "reboot", Payload: json.RawMessage(`{"a":1}`)},
	}
}

func TestTwinUpdate(t *testing.T) {
	inBubble(t, 5, jobs.Options{}, func(b *bench) {
		const patch = `{"etag":"*","tags":{"wave":1},"properties":{"desired":{"on":true}}}`
		b.create(update("j", "deviceId IN ['dev-1', 'dev-3']", patch))
		b.expect("j", "completed 2/0/0/0 of 2")
		for i := range 5 {
			tw, err := b.fleet.Twin(fmt.Sprint("dev-", i))
			if err != nil {
				b.Fatal(err)
			}
			tags, desired := tw.Tags.Value().Get("wave").Num(), tw.Desired.Value().Get("on").Bool()
			if want := i == 1 || i == 3; (tags == 1) != want || desired != want {
				b.Errorf("dev-%d: tag %v, desired %t", i, tags, desired)
			}
		}
		if want := []int{len(patch), len(patch)}; !slices.Equal(b.metered, want) {
			b.Errorf("metered %v; want %v", b.metered, want)
		}
	})
}

func TestMethods(t *testing.T) {
	inBubble(t, 40, jobs.Options{Concurrency: 4}, func(b *bench) {
		b.create(call("j", ""))
		synctest.Wait()
		if got := b.state("j"); !strings.HasPrefix(got, "running 0/") {
			b.Errorf("at first: %s", got)
		}
		<-time.After(10 * time.Second)
		b.expect("j", "completed 20/20/0/0 of 40")
		if b.fleet.most != 4 {
			b.Errorf("%d calls at once; want 4", b.fleet.most)
		}
		rows := b.rows("SELECT * FROM devices.jobs WHERE devices.jobs.deviceId = 'dev-2' AND devices.jobs.jobType = 'scheduleDeviceMethod' AND " +
			"devices.jobs.status = 'completed' AND devices.jobs.createdTimeUtc > '1999-09-01'")
		if len(rows) != 1 || !strings.Contains(rows[0], `"outcome":{"deviceMethodResponse":{"status":200,"payload":{"did":"reboot"}}}`) {
			b.Errorf("the row of dev-2: %s", rows)
		}
		rows = b.rows("SELECT * FROM devices.jobs WHERE devices.jobs.status = 'failed'")
		if len(rows) != 20 || !strings.Contains(rows[0], `"error":{"code":"DeviceNotOnline"`) {
			b.Errorf("rows that failed: %d, %s", len(rows), rows)
		}
	})
}

func (b *bench) rows(sql string) []string {
	b.Helper()
	q, err := query.Parse(sql)
	if err != nil {
		b.Fatal(err)
	}
	var rows []string
	for token := ""; ; {
		page, err := b.Query(b.Context(), q, 7, token)
		if err != nil || page.ItemType != paging.ItemJob {
			b.Fatal(page.ItemType, err)
		}
		for _, item := range page.Items {
			rows = append(rows, string(item))
		}
		if token = page.Continuation; token == "" {
			return rows
		}
	}
}

func TestSchedules(t *testing.T) {
	inBubble(t, 3, jobs.Options{}, func(b *bench) {
		later := update("later", "", `{"etag":"*","tags":{"a":1}}`)
		later.Start = timestamp.Time{Time: time.Now().Add(time.Hour)}
		if made := b.create(later); made.Status != document.Queued { // it may have moved on already when it is asked for
			b.Errorf("the answer is a job that is %s; want it queued", made.Status)
		}
		cancelled := later
		cancelled.JobID = "cancelled"
		b.create(cancelled)
		b.expect("later", "scheduled 0/0/0/0 of 0")
		if _, err := b.Cancel(b.Context(), "cancelled"); err != nil {
			b.Fatal(err)
		}
		<-time.After(time.Hour)
		b.expect("later", "completed 3/0/0/0 of 3")
		b.expect("cancelled", "cancelled 0/0/0/0 of 0")
		if _, err := b.Cancel(b.Context(), "later"); !errors.Is(err, iothub.ErrNotInCurrentState) {
			b.Errorf("a job that has ended was cancelled: %v", err)
		}
		if _, err := b.Cancel(b.Context(), "nobody"); !errors.Is(err, iothub.ErrJobNotFound) {
			b.Errorf("an unknown job was cancelled: %v", err)
		}
		for _, tt := range []struct {
			kind, status string
			want         int
		}{{"", "", 2}, {document.TwinUpdate, "", 2}, {document.DeviceMethod, "", 0}, {"", document.Cancelled, 1}} {
			if got, next := b.List(tt.kind, tt.status, 0, 100); len(got) != tt.want || next != 0 {
				b.Errorf("List(%q, %q) has %d jobs, then %d; want %d", tt.kind, tt.status, len(got), next, tt.want)
			}
		}
		<-time.After(31 * 24 * time.Hour)
		b.create(update("new", "", `{"etag":"*","tags":{"a":1}}`))
		if _, err := b.Job("later"); !errors.Is(err, iothub.ErrJobNotFound) {
			b.Errorf("a job of last month: %v", err)
		}
	})
}

func TestTooLong(t *testing.T) {
	inBubble(t, 30, jobs.Options{Concurrency: 1}, func(b *bench) {
		j := call("j", "")
		j.MaxExecutionTime = 5
		b.create(j)
		<-time.After(6 * time.Second)
		synctest.Wait()
		got, err := b.Job("j")
		if err != nil || got.Status != document.Failed || !strings.Contains(got.FailureReason, "maxExecutionTimeInSeconds") {
			b.Errorf("%s, %q, %v", got.Status, got.FailureReason, err)
		}
		if s := got.DeviceJobStatistic; s.Pending != 0 || s.Running != 0 || s.Succeeded < 4 || s.Succeeded+s.Failed != 30 {
			b.Errorf("statistics: %+v", *s)
		}
	})
}

// A tier allows so many jobs at once, those that wait included: one more is refused.
func TestActive(t *testing.T) {
	inBubble(t, 3, jobs.Options{Active: 1}, func(b *bench) {
		due := call("due", "deviceId = 'dev-0'")
		due.Start = timestamp.Time{Time: time.Now().Add(500 * time.Millisecond)}
		b.create(due)
		if _, err := b.Create(b.Context(), call("second", "")); !errors.Is(err, iothub.ErrTooManyJobs) {
			b.Errorf("a second job while the first waits: %v", err)
		}
		<-time.After(time.Second)
		b.expect("due", "running 0/0/1/0 of 1")
		if _, err := b.Cancel(b.Context(), "due"); !errors.Is(err, iothub.ErrNotInCurrentState) {
			b.Errorf("a job that runs was cancelled: %v", err)
		}
		if _, err := b.Create(b.Context(), call("second", "")); !errors.Is(err, iothub.ErrTooManyJobs) {
			b.Errorf("a second job while the first runs: %v", err)
		}
		<-time.After(time.Second)
		b.expect("due", "completed 1/0/0/0 of 1")
		b.create(call("second", ""))
	})
}

// Without a turn a job does not go on; what ended it shows.
func TestAdmission(t *testing.T) {
	turns := 2
	admit := func(context.Context) error {
		if turns--; turns < 0 {
			return iothub.ErrQuotaExceeded
		}
		<-time.After(10 * time.Second)
		return nil
	}
	inBubble(t, 5, jobs.Options{Admit: admit}, func(b *bench) {
		b.create(update("j", "", `{"etag":"*","tags":{"a":1}}`))
		<-time.After(15 * time.Second)
		b.expect("j", "running 1/0/0/4 of 5")
		<-time.After(time.Minute)
		b.expect("j", "failed 2/3/0/0 of 5")
		if j, _ := b.Job("j"); j.FailureReason != iothub.ErrQuotaExceeded.Message {
			b.Errorf("reason %q", j.FailureReason)
		}
	})
}

// at is a job that is due after a time; timed one of a method whose answer is waited for so many seconds.
func at(id string, after time.Duration) document.Job {
	j := update(id, "", `{"etag":"*","tags":{"a":1}}`)
	j.Start = timestamp.Time{Time: time.Now().Add(after)}
	return j
}

func timed(id string, seconds int) document.Job {
	j := call(id, "")
	j.Method.ResponseTimeout = &seconds
	return j
}

// A condition that is wrong fails the job when it comes due; an etag that is stale fails the device.
func TestFailures(t *testing.T) {
	inBubble(t, 3, jobs.Options{}, func(b *bench) {
		for id, condition := range map[string]string{"syntax": "tags.a ==", "query": "SELECT * FROM devices"} {
			j := update(id, condition, `{"etag":"*","tags":{"a":1}}`)
			j.Start = timestamp.Time{Time: time.Now().Add(time.Minute)}
			b.create(j)
			b.expect(id, "scheduled 0/0/0/0 of 0")
		}
		<-time.After(time.Minute)
		for _, id := range []string{"syntax", "query"} {
			b.expect(id, "failed 0/0/0/0 of 0")
			if j, _ := b.Job(id); !strings.Contains(j.FailureReason, "queryCondition") {
				b.Errorf("%s failed for %q", id, j.FailureReason)
			}
		}
		tw, err := b.fleet.Twin("dev-1")
		if err != nil {
			b.Fatal(err)
		}
		own := etag.OfTwin(tw.ETag)
		b.create(update("right", "deviceId = 'dev-1'", `{"etag":"`+own+`","tags":{"a":2}}`))
		b.expect("right", "completed 1/0/0/0 of 1")
		b.create(update("stale", "deviceId = 'dev-1'", `{"etag":"`+own+`","tags":{"a":3}}`))
		b.expect("stale", "completed 0/1/0/0 of 1")
		if rows := b.rows("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'stale'"); len(rows) != 1 || !strings.Contains(rows[0], "PreconditionFailed") {
			b.Errorf("rows of the stale job: %s", rows)
		}
	})
}

// Jobs are listed in pages, in the order of their making.
func TestPagesOfJobs(t *testing.T) {
	inBubble(t, 1, jobs.Options{}, func(b *bench) {
		for i := range 25 {
			b.create(at(fmt.Sprint("job-", 24-i), time.Hour))
		}
		var ids []string
		for behind := uint64(0); ; {
			page, next := b.List("", "", behind, 10)
			for _, j := range page {
				ids = append(ids, j.JobID)
			}
			if behind = next; next == 0 {
				break
			}
		}
		if len(ids) != 25 || ids[0] != "job-24" || ids[24] != "job-0" {
			b.Errorf("pages list %q", ids)
		}
	})
}

func TestRefused(t *testing.T) {
	inBubble(t, 1, jobs.Options{}, func(b *bench) {
		b.create(update("there", "", `{"etag":"*","tags":{"a":1}}`))
		for name, tt := range map[string]struct {
			job  document.Job
			want *iothub.Error
		}{
			"the same id":        {update("there", "", `{"etag":"*","tags":{}}`), iothub.ErrJobExists},
			"no etag":            {update("a", "", `{"tags":{"a":1}}`), iothub.ErrPreconditionFailed},
			"an empty etag":      {update("a", "", `{"etag":"","tags":{"a":1}}`), iothub.ErrPreconditionFailed},
			"no properties":      {update("b", "", `{"etag":"*","desired":{"a":1}}`), iothub.ErrArgumentInvalid},
			"nothing to write":   {update("b", "", `{"etag":"*"}`), iothub.ErrArgumentInvalid},
			"no id":              {update("", "", `{"etag":"*","tags":{}}`), iothub.ErrArgumentInvalid},
			"a long id":          {update(strings.Repeat("a", 65), "", `{"etag":"*","tags":{}}`), iothub.ErrArgumentInvalid},
			"an id of a path":    {update("a/b", "", `{"etag":"*","tags":{}}`), iothub.ErrArgumentInvalid},
			"in a week and more": {at("a", 169*time.Hour), iothub.ErrArgumentInvalid},
			"in the year 9999":   {at("a", time.Until(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))), iothub.ErrArgumentInvalid},
			"no time to wait":    {timed("a", 4), iothub.ErrArgumentInvalid},
			"no patch":           {update("c", "", `[]`), iothub.ErrArgumentInvalid},
			"no method":          {document.Job{JobID: "d", Type: document.DeviceMethod}, iothub.ErrArgumentInvalid},
			"an unknown type":    {document.Job{JobID: "e", Type: "export"}, iothub.ErrArgumentInvalid},
			"a method of a path": {document.Job{JobID: "f", Type: document.DeviceMethod, Method: &methods.Request{Name: "a/b"}}, iothub.ErrArgumentInvalid},
		} {
			if _, err := b.Create(b.Context(), tt.job); !errors.Is(err, tt.want) {
				b.Errorf("%s: %v; want %v", name, err, tt.want)
			}
		}
		b.Close()
		if _, err := b.Create(b.Context(), update("g", "", `{"etag":"*","tags":{}}`)); !errors.Is(err, iothub.ErrServiceUnavailable) {
			b.Errorf("after Close: %v", err)
		}
	})
}
