package fit_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/scenario"
)

func decode(t *testing.T, text string) *scenario.Scenario {
	t.Helper()
	sc, err := scenario.Decode("fit.yaml", []byte(text), scenario.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return sc
}

// fleet is a scenario with a number of devices that connect in ten seconds.
func fleet(target, client, devices string) string {
	return "target: " + target + "\nfleet: {" + client + "groups: [{name: robots, count: " + devices + ", reported: {connectivity: {type: cellular}, every: 30s}}]}\n" +
		"stages: [{name: ramp, devices: " + devices + ", duration: 60s}]\n"
}

// The client is paho while the machine carries the fleet with it, and lean beyond; what the scenario says stays.
func TestClient(t *testing.T) {
	const gb = 1_000_000_000
	big := host.Facts{Cores: 8, Memory: 64 * gb, MemoryAvailable: 60 * gb, Ports: 28_000}
	small := host.Facts{Cores: 8, Memory: 2 * gb, MemoryAvailable: 1 * gb, Ports: 28_000}
	slow := host.Facts{Cores: 1, Memory: 64 * gb, MemoryAvailable: 60 * gb, Ports: 28_000}
	unknown := host.Facts{Cores: 8, Unknown: host.UnknownMemory | host.UnknownPorts}
	for _, x := range []struct {
		name   string
		text   string
		facts  host.Facts
		client string
		note   string
	}{
		{"a small fleet", fleet("{}", "", "1000"), small, "paho", ""},
		{"one that memory is too small for", fleet("{}", "", "20000"), small, "lean", "MB of memory"},
		{"the same where there is more", fleet("{}", "", "20000"), big, "paho", ""},
		{"one that one processor is too slow for", fleet("{}", "", "200000"), slow, "lean", "processors in the busiest second"},
		{"a machine that does not tell", fleet("{}", "", "20000"), unknown, "paho", ""},
		{"what the scenario says", fleet("{}", "client: paho, ", "20000"), small, "paho", ""},
		{"what the scenario says", fleet("{}", "client: lean, ", "10"), big, "lean", ""},
	} {
		sc := decode(t, x.text)
		before := sc.Fleet.Client
		got, err := fit.To(sc, x.facts)
		if err != nil {
			t.Fatal(err)
		}
		if got.Fleet.Client != x.client || (x.note == "") != (len(got.Fitted) == 0) || !strings.Contains(strings.Join(got.Fitted, " "), x.note) {
			t.Errorf("%s: client %s, %q", x.name, got.Fleet.Client, got.Fitted)
		}
		if sc.Fleet.Client != before || len(sc.Fitted) > 0 {
			t.Errorf("%s: the scenario that was given is another now", x.name)
		}
		again, err := fit.To(got, x.facts)
		if err != nil || again.Fleet.Client != got.Fleet.Client || !slices.Equal(again.Fitted, got.Fitted) {
			t.Errorf("%s: once more it is %s, %q, %v", x.name, again.Fleet.Client, again.Fitted, err)
		}
	}
}

// hubs is a target of hubs in clear.
func hubs(names ...string) string {
	for i := range names {
		names[i] = `"HostName=` + names[i] + `;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA"`
	}
	return "{plain: true, hubs: [" + strings.Join(names, ", ") + "]}"
}

// Loopback addresses are named when one has too few ports for a target on this machine, and only then.
func TestAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	facts := host.Facts{Cores: 8, Memory: 1e12, MemoryAvailable: 1e12, Ports: 28_232}
	for _, x := range []struct {
		name, text  string
		descriptors int
		want        int
	}{
		{"few devices", fleet("{hub: \"mqtt://127.0.0.1:1883\"}", "", "10000"), 0, 0},
		{"many", fleet("{hub: \"mqtt://127.0.0.1:1883\"}", "", "60000"), 0, 3},
		{"many, to a name", fleet("{hub: \"mqtt://localhost:1883\"}", "", "60000"), 0, 3},
		{"many, to four hubs, each of which has as many ports", fleet(hubs("localhost:8883", "localhost:8884", "localhost:8885", "localhost:8886"), "", "60000"), 0, 0},
		{"more, to four hubs", fleet(hubs("localhost:8883", "localhost:8884", "localhost:8885", "localhost:8886"), "", "150000"), 0, 2},
		{"many, elsewhere", fleet("{hub: \"mqtt://192.0.2.1:1883\"}", "", "60000"), 0, 0},
		{"many, with addresses", fleet("{hub: \"mqtt://127.0.0.1:1883\"}", "source_addresses: [127.0.0.9], ", "60000"), 0, 1},
		{"many, to the embedded hub", fleet("{}", "", "60000"), 1 << 20, 3},
		{"many, to the embedded hub in memory", fleet("{}", "", "60000"), 20_000, 0},
	} {
		text := strings.ReplaceAll(x.text, "reported: {connectivity: {type: cellular}, every: 30s}", "telemetry: {every: 30s}")
		f := facts
		f.Descriptors = x.descriptors
		got, err := fit.To(decode(t, text), f)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(got.Fleet.SourceAddresses); n != x.want {
			t.Errorf("%s: %d addresses, %q; want %d", x.name, n, got.Fleet.SourceAddresses, x.want)
		}
	}
}

// Devices and embedded hub meet in memory when sockets would take more files than there may be, or when the scenario says so.
func TestTransport(t *testing.T) {
	facts := host.Facts{Cores: 8, Memory: 1e12, MemoryAvailable: 1e12, Ports: 28_232}
	for _, x := range []struct {
		target      string
		descriptors int
		want        string
		noted       bool
	}{
		{"{}", 20_000, "tcp", false},
		{"{}", 10_000, "memory", true},
		{"{}", 0, "tcp", false}, // no limit
		{"{transport: tcp}", 10_000, "tcp", false},
		{"{transport: memory}", 20_000, "memory", false},
		{"{hub: \"mqtt://127.0.0.1:1883\"}", 100, "auto", false},
	} {
		text := strings.ReplaceAll(fleet(x.target, "client: lean, ", "6000"), "reported: {connectivity: {type: cellular}, every: 30s}", "telemetry: {every: 30s}")
		f := facts
		f.Descriptors = x.descriptors
		got, err := fit.To(decode(t, text), f)
		if err != nil {
			t.Fatal(err)
		}
		if got.Target.Transport != x.want || (len(got.Fitted) > 0) != x.noted {
			t.Errorf("%s with %d files: %s, %q", x.target, x.descriptors, got.Target.Transport, got.Fitted)
		}
	}
}
