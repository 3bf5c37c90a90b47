package hub_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// Jobs that were acknowledged are done after a restart of the hub: one for later at its time, one that ran with the
// devices that were left.
func TestJobsOutliveTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		begin := func() (*hub.Hub, *service.Client) {
			h, err := hub.Open(t.Context(), hub.Options{NoPort: true, DataDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://localhost", Dial: h.Dial})
			if err != nil {
				t.Fatal(err)
			}
			return h, c
		}
		end := func(h *hub.Hub, c *service.Client) {
			c.Close()
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
		h, c := begin()
		for i := range 30 {
			if _, err := c.CreateDevice(t.Context(), registry.Identity{DeviceID: fmt.Sprintf("dev-%02d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		later := jobs.Job{
			JobID: "later", Type: jobs.TwinUpdate, UpdateTwin: json.RawMessage(`{"etag":"*","tags":{"wave":1}}`),
			Start: timestamp.Time{Time: time.Now().Add(time.Hour)},
		}
		if j, err := c.CreateJob(t.Context(), later); err != nil || j.Status != jobs.Queued {
			t.Fatal(j.Status, err)
		}
		// Nobody is connected: each device takes a minute, ten at a time.
		calls := jobs.Job{JobID: "calls", Type: jobs.DeviceMethod, Method: &methods.Request{
			Name: "m", ConnectTimeout: methods.Seconds(time.Minute), ResponseTimeout: methods.Seconds(time.Minute),
		}}
		if _, err := c.CreateJob(t.Context(), calls); err != nil {
			t.Fatal(err)
		}
		<-time.After(90 * time.Second)
		end(h, c)
		h, c = begin()
		defer func() { end(h, c) }()
		got, err := c.Job(t.Context(), "calls")
		if s := got.DeviceJobStatistic; err != nil || got.Status != jobs.Running || s.Devices != 30 || s.Failed != 10 {
			t.Errorf("after the restart: %s %+v, %v; want ten of thirty devices done", got.Status, s, err)
		}
		<-time.After(3 * time.Minute)
		got, err = c.Job(t.Context(), "calls")
		if s := got.DeviceJobStatistic; err != nil || got.Status != jobs.Completed || s.Failed != 30 {
			t.Errorf("at its end: %s %+v, %v", got.Status, s, err)
		}
		if got, err := c.Job(t.Context(), "later"); err != nil || got.Status != jobs.Scheduled {
			t.Errorf("the job for later: %s, %v", got.Status, err)
		}
		<-time.After(time.Hour)
		got, err = c.Job(t.Context(), "later")
		if s := got.DeviceJobStatistic; err != nil || got.Status != jobs.Completed || s.Succeeded != 30 {
			t.Errorf("the job for later at its end: %s %+v, %v", got.Status, s, err)
		}
	})
}
