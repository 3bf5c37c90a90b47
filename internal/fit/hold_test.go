package fit_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// How many devices one of several processes holds, and by what.
func TestHold(t *testing.T) {
	const gb, far = 1_000_000_000, `{hub: "mqtt://192.0.2.1:1883"}`
	huge := host.Facts{Cores: 1000, Memory: 1e15, MemoryAvailable: 1e15, Ports: 1 << 29, Descriptors: 1 << 29}
	with := func(change func(f *host.Facts)) host.Facts {
		f := huge
		change(&f)
		return f
	}
	few := with(func(f *host.Facts) { f.Descriptors = 20_000 })
	ports := with(func(f *host.Facts) { f.Ports = 28_232 })
	small := with(func(f *host.Facts) { f.MemoryAvailable = gb })
	slow := with(func(f *host.Facts) { f.Cores = 2 })
	for _, x := range []struct {
		name            string
		target, fleet   string
		facts           host.Facts
		processes       int
		atLeast, atMost int
		limit           string
	}{
		{"descriptors", far, "", few, 0, 19_968, 19_968, "20,000 descriptors"},
		{"descriptors, which each process has of its own", far, "", few, 4, 19_968, 19_968, "20,000 descriptors"},
		{"descriptors, of a hub that lives in another process", "{}", "", few, 1, 19_900, 19_968, "20,000 descriptors"},
		{"ports of one address", far, "", ports, 1, 28_232, 28_232, "28,232 local ports"},
		{"ports of one address for four", far, "", ports, 4, 7_058, 7_058, "7,058 local ports"},
		{
			"ports of one address for four, towards each of four hubs", hubs("192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:4"), "",
			ports, 4, 28_192, 28_192, "7,058 local ports towards each of 4 hubs", // without the 40 of the service side
		},
		{"ports of two", far, "source_addresses: [192.0.2.7, 192.0.2.8], ", ports, 1, 56_464, 56_464, "28,232 local ports of each of 2 source addresses"},
		{"memory", far, "client: lean, ", small, 1, 100_000, 280_000, "1,000 MB of memory"},
		{"memory with paho", far, "client: paho, ", small, 1, 10_000, 30_000, "1,000 MB of memory"},
		{"memory for four", far, "client: lean, ", small, 4, 20_000, 80_000, "250 MB of memory"},
		{"processors", far, "client: lean, ", slow, 1, 100_000, 2_000_000, "2 processors"},
		{"processors for four", far, "client: lean, ", slow, 4, 25_000, 500_000, "0.5 processors"},
		{"the first limit that is met", far, "client: paho, ", with(func(f *host.Facts) { f.Descriptors, f.MemoryAvailable = 1032, gb }), 1, 1000, 1000, "1,032 descriptors"},
		{"a system that does not tell", far, "", host.Facts{Unknown: host.UnknownMemory | host.UnknownPorts}, 1, fit.Unbounded, fit.Unbounded, ""},
	} {
		text := strings.ReplaceAll(fleet(x.target, x.fleet, "100000"), "reported: {connectivity: {type: cellular}, every: 30s}", "telemetry: {every: 30s}")
		got := fit.Hold(decode(t, text), x.facts, x.processes)
		if got.Devices < x.atLeast || got.Devices > x.atMost || got.By != x.limit {
			t.Errorf("%s: %d by %q; want %d to %d by %q", x.name, got.Devices, got.By, x.atLeast, x.atMost, x.limit)
		}
	}
}

// Devices that share connections need fewer.
func TestHoldShared(t *testing.T) {
	text := "target: {hub: \"HostName=hub.example.net;SharedAccessKeyName=x;SharedAccessKey=AAAA\"}\n" +
		"fleet: {groups: [{name: gates, count: 50000, transport: amqp, devices_per_connection: 100, telemetry: {every: 30s}}]}\n" +
		"stages: [{name: ramp, devices: 100%, duration: 60s}]\n"
	got := fit.Hold(decode(t, text), host.Facts{Descriptors: 1000, Unknown: host.UnknownMemory | host.UnknownPorts}, 1)
	if got.Devices < 90_000 || got.Devices > 100_000 {
		t.Errorf("%+v", got)
	}
}

// What a process holds is what the plan of a fleet of that size says: one more rule would be one too many.
func TestHoldAgreesWithPlan(t *testing.T) {
	for _, client := range []string{"lean", "paho"} {
		for _, does := range []string{"telemetry: {every: 5s}", "telemetry: {every: 60s}"} {
			text := strings.ReplaceAll(fleet(`{hub: "mqtt://192.0.2.1:1883"}`, "client: "+client+", ", "40000"), "reported: {connectivity: {type: cellular}, every: 30s}", does)
			for _, memory := range []uint64{100e6, 400e6} {
				room := fit.Hold(decode(t, text), host.Facts{MemoryAvailable: memory, Unknown: host.UnknownPorts}, 1)
				sc, err := scenario.Decode("fit.yaml", []byte(text), scenario.Options{Devices: room.Devices})
				if err != nil {
					t.Fatal(err)
				}
				p, err := plan.Make(sc, plan.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if got, want := float64(p.Machine.Memory), plan.Tight*float64(memory); math.Abs(got-want) > 0.1*want {
					t.Errorf("%s: %d devices in %d MB: the plan says %.0f MB", client, room.Devices, memory/1e6, got/1e6)
				}
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	room := fit.Room{Devices: 9_968, By: "10,000 descriptors"}
	if err := room.Holds(9_968); err != nil {
		t.Error(err)
	}
	err := room.Holds(15_000)
	if want := "more devices than this process holds: 15,000, and its 10,000 descriptors are enough for 9,968"; !errors.Is(err, fit.ErrTooMany) || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}
