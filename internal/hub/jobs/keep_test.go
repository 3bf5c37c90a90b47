package jobs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/jobs"
	"github.com/twinfleet/twinfleet/internal/hub/keeptest"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
)

// restart ends the runner and lets another take up what was kept; after a time that nothing runs.
func (b *bench) restart(o jobs.Options, down time.Duration) {
	b.Helper()
	b.Close()
	<-time.After(down)
	o.Hub, o.Source = b.fleet, b.fleet.Store
	b.Runner = jobs.New(o)
	if err := b.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// A job goes on where it was with the devices that are not done, whenever the program ends.
func TestJobsOutliveTheProgram(t *testing.T) {
	o := jobs.Options{Keeper: &keeptest.Shelf{}, Concurrency: 1}
	inBubble(t, 20, o, func(b *bench) {
		b.create(call("done", "deviceId = 'dev-0'"))
		<-time.After(2 * time.Second)
		b.expect("done", "completed 1/0/0/0 of 1")
		b.create(call("calls", "")) // ten devices answer after a second each, ten are not there
		later := at("later", time.Minute)
		b.create(later)
		b.create(at("cancelled", time.Minute))
		if _, err := b.Cancel(b.Context(), "cancelled"); err != nil {
			b.Fatal(err)
		}
		for range 4 {
			<-time.After(2500 * time.Millisecond)
			b.restart(o, 100*time.Millisecond)
			synctest.Wait()
			if got := b.state("calls"); !strings.HasPrefix(got, "running ") || !strings.HasSuffix(got, " of 20") {
				b.Errorf("after a restart: %s", got)
			}
			if _, err := b.Create(b.Context(), later); !errors.Is(err, iothub.ErrJobExists) {
				b.Errorf("a job that is kept was made again: %v", err)
			}
		}
		<-time.After(10 * time.Second)
		b.expect("calls", "completed 10/10/0/0 of 20")
		// Ten devices and the one before; each restart found one call under way, which was made once more.
		if b.fleet.calls < 11 || b.fleet.calls > 15 {
			b.Errorf("%d calls; want 11, and one more a restart at most", b.fleet.calls)
		}
		b.restart(o, time.Minute)
		b.expect("later", "completed 20/0/0/0 of 20")
		b.expect("calls", "completed 10/10/0/0 of 20")
		b.expect("done", "completed 1/0/0/0 of 1")
		b.expect("cancelled", "cancelled 0/0/0/0 of 0")
		if rows := b.rows("SELECT * FROM devices.jobs WHERE jobId = 'calls' AND status = 'completed'"); len(rows) != 10 || !strings.Contains(rows[0], `"did":"reboot"`) {
			b.Errorf("rows: %s", rows)
		}
		if list, _ := b.List("", "", 0, 100); len(list) != 4 || list[0].JobID != "done" || list[3].JobID != "cancelled" {
			b.Errorf("the list: %+v", list)
		}
	})
}

// A job that cannot be kept is not acknowledged, and is not there.
func TestJobsThatCannotBeKept(t *testing.T) {
	s := &keeptest.Shelf{}
	inBubble(t, 1, jobs.Options{Keeper: s}, func(b *bench) {
		s.Fail(errors.New("disk full"))
		if _, err := b.Create(b.Context(), at("j", time.Hour)); !errors.Is(err, iothub.ErrServer) {
			b.Errorf("Create: %v", err)
		}
		if _, err := b.Job("j"); !errors.Is(err, iothub.ErrJobNotFound) {
			b.Errorf("the job: %v", err)
		}
		if s.Len() != 0 {
			b.Errorf("rows are left: %d", s.Len())
		}
	})
}

// What cannot be read is dropped, and harms nothing else.
func TestBrokenRows(t *testing.T) {
	s := &keeptest.Shelf{}
	o := jobs.Options{Keeper: s}
	inBubble(t, 3, o, func(b *bench) {
		for _, id := range []string{"null", "text", "rule", "devices", "nil", "done", "whole"} {
			b.create(at(id, time.Minute))
		}
		for key, value := range map[[2]string]string{
			{"jobs.1", "null"}:                         `null`,
			{"jobs.1", "text"}:                         `{`,
			{"jobs.1", "rule"}:                         `{"Number":3,"Job":{"jobId":"rule","type":"export"}}`,
			{"jobs.devices.1", "devices"}:              `{"a":1}`,
			{"jobs.devices.1", "nil"}:                  `[null]`,
			{"jobs.devices.1", "nobody"}:               `[]`,
			{"jobs.done.1", "done\x0000000000"}:        `{}`,
			{"jobs.done.1", "done"}:                    `{}`,
			{"jobs.done.1", "done\x00-1"}:              `{}`,
			{"jobs.done.1", "whole\x0099999999999999"}: `{}`,
		} {
			s.Put(key[0], key[1], []byte(value))
		}
		b.restart(o, time.Second)
		for _, id := range []string{"null", "text", "rule"} {
			if _, err := b.Job(id); !errors.Is(err, iothub.ErrJobNotFound) {
				b.Errorf("job %s: %v", id, err)
			}
		}
		<-time.After(time.Minute)
		for _, id := range []string{"devices", "nil", "done", "whole"} {
			b.expect(id, "completed 3/0/0/0 of 3")
		}
		if s.Len() != 8 {
			b.Errorf("%d rows are left; want two of each job", s.Len())
		}
	})
}

// What is kept of jobs goes with them.
func TestForgottenJobs(t *testing.T) {
	s := &keeptest.Shelf{}
	inBubble(t, 3, jobs.Options{Keeper: s}, func(b *bench) {
		b.create(update("old", "", `{"etag":"*","tags":{"a":1}}`))
		b.expect("old", "completed 3/0/0/0 of 3")
		<-time.After(31 * 24 * time.Hour)
		b.create(update("new", "", `{"etag":"*","tags":{"a":1}}`))
		b.expect("new", "completed 3/0/0/0 of 3")
		if s.Len() != 2 {
			b.Errorf("%d rows; want the new job's two", s.Len())
		}
	})
}

// Pages of devices.jobs neither repeat nor leave out a row, whatever comes to the jobs between them, and however many
// rows there are.
func TestPagesOfRows(t *testing.T) {
	inBubble(t, 700, jobs.Options{Concurrency: 100}, func(b *bench) {
		for i := range 3 {
			b.create(update(fmt.Sprint("z-", i), "", `{"etag":"*","tags":{"a":1}}`))
			b.expect(fmt.Sprint("z-", i), "completed 700/0/0/0 of 700")
		}
		q, err := query.Parse("SELECT * FROM devices.jobs")
		if err != nil {
			b.Fatal(err)
		}
		seen := make(map[string]int)
		token := ""
		for pages := 0; ; pages++ {
			page, err := b.Query(b.Context(), q, 97, token)
			if err != nil {
				b.Fatal(err)
			}
			for _, item := range page.Items {
				seen[string(item)]++
			}
			if pages == 3 { // sorts before the others by its id
				b.create(update("a", "deviceId = 'dev-1'", `{"etag":"*","tags":{"a":1}}`))
				b.expect("a", "completed 1/0/0/0 of 1")
			}
			if token = page.Continuation; token == "" {
				break
			}
		}
		twice := 0
		for _, n := range seen {
			twice += n - 1
		}
		if len(seen) != 2101 || twice != 0 {
			b.Errorf("%d rows, %d of them again; want 2101", len(seen), twice)
		}
		if rows := b.rows("SELECT * FROM devices.jobs WHERE deviceId = 'dev-5' AND jobId = 'z-1'"); len(rows) != 1 {
			b.Errorf("rows of one device of a job: %s", rows)
		}
		if rows := b.rows("SELECT TOP 5 * FROM devices.jobs WHERE jobId = 'z-1' OR jobId = 'a'"); len(rows) != 5 {
			b.Errorf("TOP 5: %d rows", len(rows))
		}
	})
}
