package fit_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
)

// A process that runs a part of a fleet is judged by its part, and by what others on its machine take.
func TestToPart(t *testing.T) {
	const gb = 1_000_000_000
	four := hubs("localhost:8883", "localhost:8884", "localhost:8885", "localhost:8886")
	one := `{hub: "mqtt://127.0.0.1:1883"}`
	big := host.Facts{Cores: 64, MemoryAvailable: 600 * gb, Ports: 28_232}
	little := host.Facts{Cores: 64, MemoryAvailable: 2 * gb, Ports: 1 << 20}
	for _, x := range []struct {
		name      string
		target    string
		facts     host.Facts
		devices   int // of 60,000
		processes int
		client    string
		addresses int
		note      string
	}{
		{"4 agents x 15,000 at 4 hubs: each hub has its own 28,232 ports", four, big, 15_000, 4, "paho", 0, ""},
		{"4 agents x 15,000 at 1 hub", one, big, 15_000, 4, "paho", 3, "127.0.0.1 to 127.0.0.3 in turn: one address has 28,232 local ports"},
		{"one of 4 agents, alone on its machine", one, big, 15_000, 1, "paho", 0, ""},
		{"all of them", one, big, 60_000, 1, "paho", 3, "127.0.0.1 to 127.0.0.3"},
		{"memory for a part", one, little, 5_000, 1, "paho", 0, ""},
		{"memory for a part, four times", one, little, 15_000, 4, "lean", 0, "with paho the 15,000 devices of each of 4 agents would need about"},
		{"memory for all", one, little, 60_000, 1, "lean", 0, "with paho the 60,000 devices would need about"},
		{"a processor for a part", one, host.Facts{Cores: 1, MemoryAvailable: 600 * gb, Ports: 1 << 20}, 2_000, 1, "paho", 0, ""},
		{"nobody: it leads others", one, host.Facts{Cores: 1, MemoryAvailable: gb, Ports: 100}, 0, 1, "paho", 0, ""},
	} {
		if x.addresses > 0 && runtime.GOOS != "linux" {
			continue // only Linux has all of 127.0.0.0/8
		}
		text := strings.ReplaceAll(fleet(x.target, "", "60000"), "reported: {connectivity: {type: cellular}, every: 30s}", "telemetry: {every: 30s}")
		sc := decode(t, text)
		got := fit.ToPart(sc, x.facts, x.devices, x.processes)
		said := strings.Join(got.Fitted, "; ")
		if got.Fleet.Client != x.client || len(got.Fleet.SourceAddresses) != x.addresses || (x.note == "") != (said == "") || !strings.Contains(said, x.note) {
			t.Errorf("%s: client %s, %d addresses, %q", x.name, got.Fleet.Client, len(got.Fleet.SourceAddresses), said)
		}
		if len(sc.Fitted) > 0 || len(sc.Fleet.SourceAddresses) > 0 {
			t.Errorf("%s: the scenario that was given is another now", x.name)
		}
	}
}
