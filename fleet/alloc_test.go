//go:build !race

package fleet_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/iothub"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// mirror is a hub that answers in the caller's goroutine, without an allocation.
type mirror struct{}

func (mirror) Link(_ int, id string) link.Options { return link.Options{ClientID: id} }
func (mirror) Protocol() protocol.Protocol        { return iothub.Protocol{} }
func (mirror) Connect(_ context.Context, o link.Options) (link.Conn, error) {
	return &mirrored{handler: o.Handler}, nil
}

type mirrored struct {
	handler func(link.Message)
	over    func(error)
	version int
	topic   []byte
}

func (m *mirrored) Serve(over func(error))                       { m.over = over }
func (m *mirrored) Close()                                       { m.over(nil) }
func (m *mirrored) Abort()                                       { m.over(nil) }
func (m *mirrored) Subscribe(done func(error), _ ...link.Filter) { done(nil) }
func (m *mirrored) Publish(x link.Message, done func(error)) {
	done(nil)
	if !strings.HasPrefix(x.Topic, "$iothub/twin/PATCH") {
		return
	}
	rid := x.Topic[strings.Index(x.Topic, "$rid=")+5:]
	m.version++
	m.topic = append(append(append(m.topic[:0], "$iothub/twin/res/204/?$rid="...), rid...), "&$version="...)
	m.topic = strconv.AppendInt(m.topic, int64(m.version), 10)
	m.handler(link.Message{Topic: unsafe.String(unsafe.SliceData(m.topic), len(m.topic))})
}

// What a device does for a report and its answer, and for a message, allocates no more than the id and the topic of the report.
func TestOperationsHardlyAllocate(t *testing.T) {
	f, err := fleet.New(fleet.Config{
		Groups: []fleet.Group{{
			Name: "robots", IDs: []string{"robots-000"}, Report: fleet.Reporting{Types: types(t, "cellular", 1)}, Telemetry: fleet.Telemetry{Rated: true, QoS: 1}, Timeout: second,
		}},
		Target: mirror{}, Driver: mirror{}, Recorder: metrics.NewRecorder(metrics.Options{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	to(t, f, 1, 0)
	for f.Counts()[fleet.StateConnected] == 0 {
		time.Sleep(time.Millisecond)
	}
	for op, most := range map[metrics.Operation]float64{metrics.OpTwinReport: 2, metrics.OpTelemetry: 0} {
		one := schedule.Curve{{Duration: time.Microsecond, From: 1e6, To: 1e6}}
		bare := testing.AllocsPerRun(200, func() { _ = f.Load(t.Context(), metrics.OpOther, one) })
		got := testing.AllocsPerRun(200, func() { _ = f.Load(t.Context(), op, one) })
		t.Logf("%s: %v allocations, %v of them of the load", op, got, bare)
		if got-bare > most {
			t.Errorf("%s: %v allocations; want %v at most", op, got-bare, most)
		}
	}
	f.Stop(t.Context())
}
