package fleet_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Devices answer desired properties as IoT Plug and Play does, once, and the older of two not at all.
func TestDesiredAndMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.desired = `{"interval":5,"$version":3}`
		var told []string
		var mu sync.Mutex // protects the following
		var reporting []time.Time
		var reported []fleet.Report
		f, err := fleet.New(fleet.Config{
			Seed: 1, Target: h, Driver: h, Recorder: metrics.NewRecorder(metrics.Options{}),
			Groups: []fleet.Group{{Name: "robots", IDs: []string{"r"}, Answer: true, Methods: fleet.Methods{
				Delay:  chance.Fixed(300 * time.Millisecond),
				Status: 202,
			}}},
			OnDesired: func(u fleet.DesiredUpdate) { told = append(told, fmt.Sprint(u.Complete, u.Version)) },
			OnReporting: func(index int, sent time.Time) {
				mu.Lock()
				defer mu.Unlock()
				reporting = append(reporting, sent)
			},
			OnReported: func(r fleet.Report) {
				mu.Lock()
				defer mu.Unlock()
				reported = append(reported, r)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 1, 0)
		time.Sleep(time.Second)
		for _, v := range []int{2, 4} {
			h.tell("r", link.Message{Topic: fmt.Sprintf("$iothub/twin/PATCH/properties/desired/?$version=%d", v), Payload: fmt.Appendf(nil,
				`{"interval":9,"old":null,"$version":%d}`, v)})
		}
		asked := time.Now()
		h.tell("r", link.Message{Topic: "$iothub/methods/POST/reboot/?$rid=1f"})
		time.Sleep(time.Second)
		h.drop()
		time.Sleep(time.Second) // the twin repeats version 3, which is answered already
		f.Stop(t.Context())
		if got := strings.Join(told, ", "); got != "true 3, false 4, true 3" {
			t.Errorf("told of %s", got)
		}
		want := []string{
			`{"interval":{"value":5,"ac":200,"av":3,"ad":"applied"}}`,
			`{"interval":{"value":9,"ac":200,"av":4,"ad":"applied"},"old":null}`,
		}
		if got := strings.Join(h.told().reports["r"], "\n"); got != strings.Join(want, "\n") {
			t.Errorf("answers:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
		if r := h.told().replies["r"]; len(r) != 1 || r[0].topic != "$iothub/methods/res/202/?$rid=1f" || r[0].at.Sub(asked) != 300*time.Millisecond {
			t.Errorf("answers to the method: %v", r)
		}
		mu.Lock()
		defer mu.Unlock()
		for i, answered := range []int64{3, 4} {
			if len(reporting) != 2 || len(reported) != 2 || reported[i].Answered != answered || reported[i].Version != int64(i)+2 ||
				!reported[i].Sent.Equal(reporting[i]) || reported[i].Acked.Sub(reporting[i]) != time.Millisecond {
				t.Fatalf("reporting at %v, reported %+v; want answers to 3 and 4", reporting, reported)
			}
		}
	})
}
