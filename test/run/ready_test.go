//go:build integration

package run

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// ready is a ready scenario of a broker, made smaller, and a Mosquitto that does not do what the scenario is to show.
type ready struct {
	name     string
	devices  string   // 60 if nothing is said
	duration string   // 14s likewise
	set      []string // what makes it small, beside fewer devices and less time
	fault    []string // of Mosquitto's configuration
	acl      string   // likewise, the file of who may read and write what
	finds    string   // the threshold that is missed then
}

func readyOnes() []ready {
	return []ready{
		{name: "broker-telemetry", fault: []string{"max_connections 20"}, finds: "✗ connect: error_rate < 0.1%"},
		{
			name: "broker-delivery", devices: "62", set: []string{"fleet.groups.sensors.count=60"}, // both boards are
			acl: "topic write plants/#\ntopic read plants/redmond43/sensors/sensors-000000/telemetry\n", finds: "✗ delivery{group=sensors}: error_rate < 0.1%",
		},
		{name: "broker-flood", fault: []string{"max_connections 20"}, finds: "✗ connect: error_rate < 0.1%"},
		{name: "broker-fan-in", acl: "topic write plants/#\ntopic read plants/redmond43/+/+/readings\n", finds: "✗ delivery{group=sensors/alarms}: timeouts == 0"},
		{name: "broker-fan-out", acl: "topic write plants/#\ntopic read plants/redmond43/commands/all\n", finds: "✗ delivery{group=dispatch/orders}: timeouts == 0"},
		{
			name: "broker-shared", acl: "topic write plants/#\ntopic read plants/redmond43/sensors/sensors-000000/readings\n",
			finds: "✗ delivery{group=sensors}: timeouts == 0",
		},
		{
			// The last stage is longer than an absence, so that all return in it.
			name: "broker-sessions", duration: "35s", set: []string{"fleet.groups.robots.session={online: 2s..4s, offline: 2s..3s, clean: false}"},
			fault: []string{"max_queued_messages 1"}, finds: "✗ delivery{group=dispatch}: timeouts == 0",
		},
		{name: "broker-retained", fault: []string{"retain_available false"}, finds: "✗ telemetry: error_rate < 0.1%"},
	}
}

// times are what thresholds ask of a machine that has nothing else to do.
var times = regexp.MustCompile(`(p\(99\)|max) < \w+`)

// run runs it against a broker, and says how that ended.
func (r ready) run(t *testing.T, binary, broker string, set ...string) (code int, output string) {
	t.Helper()
	text, err := os.ReadFile(scenarioFile(r.name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, r.name+".yaml")
	if err := os.WriteFile(file, times.ReplaceAll(text, []byte("$1 < 25s")), 0o600); err != nil {
		t.Fatal(err)
	}
	if rows, err := os.ReadFile(strings.TrimSuffix(scenarioFile(r.name), ".yaml") + ".csv"); err == nil {
		if err := os.WriteFile(filepath.Join(dir, r.name+".csv"), rows, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"run", file, "--metrics-addr", "", "--devices", cmp.Or(r.devices, "60"), "--duration", cmp.Or(r.duration, "14s"), "--set", "generator.saturated=warn"}
	for _, s := range slices.Concat(r.set, set) {
		args = append(args, "--set", s)
	}
	p := rig.Start(t, dir, []string{"TWINFLEET_BROKER=mqtt://" + broker}, binary, args...)
	return p.Wait(t, 2*time.Minute), p.Output()
}

// The ready scenarios of brokers pass against a Mosquitto that is well, over both versions of MQTT.
func TestReady(t *testing.T) {
	t.Parallel()
	binary := rig.Build(t)
	for _, r := range readyOnes() {
		for _, version := range []string{"3.1.1", "5"} {
			t.Run(r.name+" "+version, func(t *testing.T) {
				t.Parallel()
				if code, output := r.run(t, binary, rig.Mosquitto(t), "target.mqtt="+version); code != 0 || !strings.Contains(output, "PASSED  "+r.name) {
					t.Errorf("exit code %d\n%s", code, output)
				}
			})
		}
	}
}

// Each of them finds the fault that it is made for: the threshold that it is about is missed, over both versions of MQTT.
func TestReadyFinds(t *testing.T) {
	t.Parallel()
	binary := rig.Build(t)
	for _, r := range readyOnes() {
		for _, version := range []string{"3.1.1", "5"} {
			t.Run(r.name+" "+version, func(t *testing.T) {
				t.Parallel()
				broken := slices.Clone(r.fault)
				if r.acl != "" {
					file := filepath.Join(t.TempDir(), "acl")
					if err := os.WriteFile(file, []byte(r.acl), 0o644); err != nil {
						t.Fatal(err)
					}
					broken = append(broken, "acl_file "+file)
				}
				if code, output := r.run(t, binary, rig.Mosquitto(t, broken...), "target.mqtt="+version); code != 99 || !strings.Contains(output, r.finds) {
					t.Errorf("exit code %d, want 99 and %q\n%s", code, r.finds, output)
				}
			})
		}
	}
}
