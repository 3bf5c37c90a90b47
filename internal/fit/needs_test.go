package fit_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// A machine that has what an agent needs holds its devices, and one that lacks some of it does not.
func TestAgentIsHoldTheOtherWayRound(t *testing.T) {
	for _, client := range []string{"lean", "paho"} {
		text := fleet(`{hub: "HostName=hub.example.net;SharedAccessKeyName=x;SharedAccessKey=AAAA"}`, "client: "+client+", ", "400000")
		sc := decode(t, text)
		for _, devices := range []int{1, 1000, 20_000, 100_000} {
			n := fit.Agent(sc, devices)
			enough := host.Facts{Cores: 64, MemoryAvailable: uint64(float64(n.Memory)/plan.Tight) + 1, Descriptors: n.Descriptors, Ports: n.Ports}
			if got := fit.Hold(sc, enough, 1); got.Devices < devices {
				t.Errorf("%s: what %d devices need, %+v, holds %d by %s", client, devices, n, got.Devices, got.By)
			}
			for what, f := range map[string]host.Facts{
				"memory":      {Cores: 64, MemoryAvailable: enough.MemoryAvailable * 9 / 10, Descriptors: n.Descriptors, Ports: n.Ports},
				"descriptors": {Cores: 64, MemoryAvailable: enough.MemoryAvailable, Descriptors: n.Descriptors - 1, Ports: n.Ports},
				"ports":       {Cores: 64, MemoryAvailable: enough.MemoryAvailable, Descriptors: n.Descriptors, Ports: n.Ports - 1},
			} {
				if got := fit.Hold(sc, f, 1); got.Devices >= devices {
					t.Errorf("%s: with less %s than %d devices need there is room for %d", client, what, devices, got.Devices)
				}
			}
			if n.Processors <= 0 {
				t.Errorf("%s: %d devices take no processor", client, devices)
			}
		}
	}
}

// Who leads needs far less than who runs the devices, more for a larger fleet, and more the more it asks.
func TestCoordinator(t *testing.T) {
	const hub = `{hub: "HostName=hub.example.net;SharedAccessKeyName=x;SharedAccessKey=AAAA"}`
	asks := "service: {queries: [{name: all, every: 1s, sql: SELECT * FROM devices}]}\n"
	small, large := fit.Coordinator(decode(t, fleet(hub, "", "1000")), 1), fit.Coordinator(decode(t, fleet(hub, "", "1000000")), 50)
	asking := fit.Coordinator(decode(t, fleet(hub, "", "1000000")+asks), 50)
	if small.Memory >= large.Memory || large.Memory >= asking.Memory || large.Processors >= asking.Processors || asking.Ports > 1000 {
		t.Errorf("small %+v, large %+v, asking %+v", small, large, asking)
	}
	whole := fit.Agent(decode(t, fleet(hub, "client: lean, ", "1000000")), 1_000_000)
	if large.Memory >= whole.Memory/2 {
		t.Errorf("leading 1,000,000 devices takes %d bytes, running them %d", large.Memory, whole.Memory)
	}
}
