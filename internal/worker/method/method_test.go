package method_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/method"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
)

// caller answers direct methods by device.
type caller struct {
	mu    sync.Mutex
	calls map[string]int
	last  methods.Request
}

func (c *caller) InvokeMethod(_ context.Context, id string, request methods.Request) (methods.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = make(map[string]int)
	}
	c.calls[id]++
	c.last = request
	switch id {
	case "dev-1":
		return methods.Response{}, iothub.ErrMethodTimeout
	case "dev-2":
		return methods.Response{Status: 501}, nil
	}
	return methods.Response{Status: 200}, nil
}

func TestMethodsGoFromDeviceToDevice(t *testing.T) {
	c := &caller{}
	do := method.Call(c, workertest.IDs(4), pace.Order(1, "m", 4), "reboot", json.RawMessage(`{"delay":1}`), 1500*time.Millisecond)
	outcomes := make(map[metrics.Outcome]int)
	for n := range int64(12) {
		outcomes[call.Outcome(do(t.Context(), n))]++
	}
	for _, id := range workertest.IDs(4) {
		if c.calls[id] != 3 {
			t.Errorf("%s was called %d times; want 3", id, c.calls[id])
		}
	}
	if c.last.Name != "reboot" || string(c.last.Payload) != `{"delay":1}` || *c.last.ResponseTimeout != 2 {
		t.Errorf("called with %+v", c.last)
	}
	if outcomes[metrics.OK] != 6 || outcomes[metrics.Timeout] != 3 || outcomes[metrics.Failed] != 3 {
		t.Errorf("outcomes %v; want 6 good, 3 timed out, 3 answered with a failure", outcomes)
	}
}
