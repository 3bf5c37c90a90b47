//go:build integration

package run

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/fleet/link/linktest"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	identities "github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// noFailure is thresholds that do not depend on how busy the machine is that runs the tests; the examples' own are for one that
// has the time.
const noFailure = `thresholds={connect: ["error_rate < 0.1%"], telemetry: ["error_rate < 0.1%"]}`

func scenarioFile(name string) string {
	return filepath.Join(rig.Root(), "configs", "scenarios", name+".yaml")
}

// Every driver against a real Mosquitto, as against other brokers.
func TestDriversAgainstMosquitto(t *testing.T) {
	t.Parallel()
	broker := rig.Mosquitto(t)
	for _, name := range drivers.Names() {
		suite := linktest.Suite{Driver: func() link.Driver {
			d, err := drivers.New(name)
			if err != nil {
				t.Error(err)
			}
			return d
		}}
		t.Run(name, func(t *testing.T) { suite.RunBroker(t, link.TCP(broker), name) })
		if _, keeps := suite.Driver().(link.Keeping); !keeps {
			continue
		}
		five := suite
		five.Version, five.Wordless = link.V5, true
		t.Run(name+" keeps", func(t *testing.T) { suite.RunKept(t, link.TCP(broker), name) })
		t.Run(name+" 5", func(t *testing.T) {
			five.RunBroker(t, link.TCP(broker), name+"5")
			five.RunKept(t, link.TCP(broker), name+"5")
		})
	}
}

// The fleet part against a plain Mosquitto: connect and telemetry, with QoS 0, 1 and 2.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	binary, broker := rig.Build(t), rig.Mosquitto(t)
	for qos := range 3 {
		p := rig.Start(t, t.TempDir(), []string{"TWINFLEET_BROKER=mqtt://" + broker}, binary, "run", scenarioFile("broker-telemetry"), "--metrics-addr", "",
			"--set", "stages.ramp.duration=2s", "--set", "stages.hold.duration=3s", "--set", "stages.burst.duration=2s",
			"--set", fmt.Sprintf("fleet.groups.sensors.telemetry.qos=%d", qos), "--set", noFailure)
		if code := p.Wait(t, time.Minute); code != 0 {
			t.Fatalf("QoS %d: exit code %d\n%s", qos, code, p.Output())
		}
		if !strings.Contains(p.Stdout(), "PASSED  broker-telemetry") || !strings.Contains(p.Stdout(), "mqtt://"+broker) {
			t.Errorf("QoS %d: summary\n%s", qos, p.Stdout())
		}
	}
}

// From publisher to subscriber through a real Mosquitto: every message reaches both boards, with each quality of
// service; a run whose subscribers would not hear the sensors is not started.
func TestMosquittoDelivers(t *testing.T) {
	t.Parallel()
	binary, broker := rig.Build(t), rig.Mosquitto(t)
	short := []string{
		"run", scenarioFile("broker-delivery"), "--metrics-addr", "", "--set", "stages.ramp.connect_rate=200/s", "--set", "stages.hold.duration=3s",
		"--set", "stages.burst.duration=2s",
		"--set", "stages.rest.duration=1s", "--set", "thresholds={telemetry: [\"error_rate < 0.1%\"], delivery: [\"error_rate < 0.1%\", \"count > 1200\"]}",
	}
	for name, tt := range map[string]struct {
		set  []string
		want string
		code int
	}{
		"QoS 0": {[]string{"--set", "fleet.groups.sensors.telemetry.qos=0", "--set", "fleet.groups.boards.subscribe.qos=0"}, "PASSED", 0},
		"QoS 1": {nil, "PASSED", 0},
		"QoS 2, retained": {[]string{
			"--set", "fleet.groups.sensors.telemetry.qos=2", "--set", "fleet.groups.sensors.telemetry.retain=true",
			"--set", "fleet.groups.boards.subscribe.qos=2",
		}, "PASSED", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := rig.Start(t, t.TempDir(), []string{"TWINFLEET_BROKER=mqtt://" + broker}, binary, append(slices.Clone(short), tt.set...)...)
			if code := p.Wait(t, time.Minute); code != tt.code || !strings.Contains(p.Stdout(), tt.want+"  broker-delivery") || !strings.Contains(p.Stdout(), "delivery") {
				t.Errorf("exit code %d; want %d and %s\n%s", code, tt.code, tt.want, p.Output())
			}
		})
	}
	t.Run("nobody hears", func(t *testing.T) {
		p := rig.Start(t, t.TempDir(), []string{"TWINFLEET_BROKER=mqtt://" + broker}, binary, append(slices.Clone(short), "--set", "fleet.groups.boards.subscribe.topics=[elsewhere/#]")...)
		if code := p.Wait(t, time.Minute); code != 2 || !strings.Contains(p.Output(), "by their topics 0 do") {
			t.Errorf("exit code %d; want 2, and nothing started\n%s", code, p.Output())
		}
	})
}

// A Mosquitto that wants a password: the right one is taken, a wrong one is counted as refused.
func TestMosquittoWithPasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	passwords := filepath.Join(dir, "passwords")
	p := rig.Start(t, dir, nil, rig.Program(t, "mosquitto_passwd"), "-c", "-b", passwords, "fleet-sensors", "open-sesame")
	if code := p.Wait(t, 10*time.Second); code != 0 {
		t.Fatalf("mosquitto_passwd: %s", p.Output())
	}
	if err := os.Chmod(passwords, 0o644); err != nil {
		t.Fatal(err)
	}
	binary, broker := rig.Build(t), rig.Mosquitto(t, "allow_anonymous false", "password_file "+passwords)
	for password, want := range map[string]string{"open-sesame": "PASSED", "wrong": "FAILED"} {
		p := rig.Start(t, dir, []string{"TWINFLEET_BROKER=mqtt://" + broker, "BROKER_PASSWORD=" + password}, binary,
			"run", scenarioFile("broker-telemetry"), "--metrics-addr", "",
			"--set", "target.username=fleet-{group}", "--set", "target.password=${BROKER_PASSWORD}",
			"--set", "stages=[{name: ramp, duration: 2s, devices: 20}]", "--set", "fleet.groups.sensors.count=20", "--set", noFailure)
		p.Wait(t, time.Minute)
		if !strings.Contains(p.Stdout(), want+"  broker-telemetry") {
			t.Errorf("password %q: want %s\n%s", password, want, p.Output())
		}
		if strings.Contains(p.Output(), password) {
			t.Errorf("the output holds the password:\n%s", p.Output())
		}
	}
}

// startHub starts a hub in a process of its own and returns what it says of itself.
func startHub(t *testing.T, binary, dir, listen string, more ...string) (*rig.Process, map[string]any) {
	t.Helper()
	p := rig.Start(t, dir, nil, binary, append([]string{"hub", "--json", "--listen", listen, "--cert-dir", filepath.Join(dir, "certs")}, more...)...)
	var said map[string]any
	if err := json.Unmarshal([]byte(p.Line(t, "connectionString", 10*time.Second)), &said); err != nil {
		t.Fatal(err)
	}
	return p, said
}

// The example scenario against a hub in another process, by its service connection string, over TLS with
// the certificate verified; afterwards the identities are gone.
func TestHubOfItsOwn(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	hub, said := startHub(t, binary, dir, "127.0.0.1:0")
	environ := []string{"TWINFLEET_HUB=" + said["connectionString"].(string), "TWINFLEET_CA=" + said["ca"].(string)}
	short := []string{
		"--metrics-addr", "", "--set", "target.hub=${TWINFLEET_HUB}", "--set", "stages.ramp.duration=2s",
		"--set", "stages.hold.duration=3s", "--set", noFailure,
	}
	p := rig.Start(t, dir, environ, binary, append([]string{"run", scenarioFile("smoke"), "--set", "target.ca=${TWINFLEET_CA}"}, short...)...)
	if code := p.Wait(t, time.Minute); code != 0 {
		t.Fatalf("exit code %d\n%s", code, p.Output())
	}
	key := said["policies"].(map[string]any)["iothubowner"].(string)
	if strings.Contains(p.Output(), key) {
		t.Error("the output holds the key")
	}
	if n := registry(t, said).Total; n != 0 {
		t.Errorf("%d identities are left", n)
	}
	// Without the authority, and without the word that the hub left, the certificate is not trusted, and nothing is started.
	elsewhere := append([]string{"HOME=" + dir, "XDG_CACHE_HOME=" + filepath.Join(dir, "cache")}, environ...)
	p = rig.Start(t, dir, elsewhere, binary, append([]string{"run", scenarioFile("smoke")}, short...)...)
	if code := p.Wait(t, time.Minute); code != 1 || !strings.Contains(p.Output(), "target.ca") {
		t.Errorf("without the authority: exit code %d\n%s", code, p.Output())
	}
	hub.Signal(t, syscall.SIGINT)
	if code := hub.Wait(t, 10*time.Second); code != 0 {
		t.Errorf("the hub ended with %d", code)
	}
}

func serviceClient(t *testing.T, said map[string]any) *service.Client {
	t.Helper()
	c, err := connstring.ParseService(said["connectionString"].(string))
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.New(service.Options{ConnectionString: c, BaseURL: "http://" + said["address"].(string)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func registry(t *testing.T, said map[string]any) identities.Statistics {
	t.Helper()
	s, err := serviceClient(t, said).Statistics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kill -9 of a hub with --data in the middle of a run, and a new one in its place five seconds later: the run
// goes on, its summary tells of the outage and of freshness, and no acknowledged report is missing.
func TestHubIsKilled(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	addr := loopback.Free(t)
	data := filepath.Join(dir, "data")
	hub, said := startHub(t, binary, dir, addr, "--data", data)
	run := rig.Start(t, dir, []string{"TWINFLEET_HUB=" + said["connectionString"].(string)}, binary, "run", scenarioFile("smoke"), "--metrics-addr", "",
		"--set", "target={hub: \"${TWINFLEET_HUB}\", plain: true, keep: true}", "--set", "stages.ramp.duration=2s", "--set", "stages.hold.duration=20s",
		"--set", "thresholds={freshness: [\"count > 500\"]}", "--set", "fleet.groups.robots.reported.every=500ms", "--set", "fleet.groups.robots.timeout=5s",
		"--set", "service={tags: {robots: {plant: A}}, queries: [{name: plant, every: 1s, sql: \"SELECT * FROM devices WHERE tags.plant = 'A'\"}], freshness: {probe: 250ms}}")
	run.Line(t, "200 connected", 30*time.Second)
	hub.Kill()
	run.Line(t, "devices lost their connections", 30*time.Second)
	time.Sleep(5 * time.Second) // the outage that the run has to live through
	_, said = startHub(t, binary, dir, addr, "--data", data)
	run.Line(t, "devices are back", 30*time.Second)
	if code := run.Wait(t, time.Minute); code != 0 {
		t.Fatalf("exit code %d\n%s", code, run.Output())
	}
	if !strings.Contains(run.Stdout(), "outage at ") || !strings.Contains(run.Stdout(), "99 % were back after") {
		t.Errorf("the summary does not tell of the outage:\n%s", run.Stdout())
	}
	for _, want := range []string{"freshness p50 ", "sampled 200 of 200 devices (100 %)", "the twins of 200 of 200 devices hold all of them", " 0 missing, 0 extra, 0 stale"} {
		if !strings.Contains(run.Stdout(), want) {
			t.Errorf("the summary does not say %q:\n%s", want, run.Stdout())
		}
	}
	if n := registry(t, said).Total; n != 200 {
		t.Errorf("%d identities; want 200", n)
	}
	rows := 0
	for p := serviceClient(t, said).Query("SELECT deviceId FROM devices WHERE tags.plant = 'A' AND IS_DEFINED(properties.reported.connectivity.type)", 100); p.More(); {
		page, err := p.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows += len(page.Items)
	}
	if rows != 200 {
		t.Errorf("%d twins are tagged and have a report; want 200", rows)
	}
}

// Freshness against a hub with --query-lag 2s is two seconds, and up to the time between two probes more.
func TestFreshnessOfAHubThatLags(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	_, said := startHub(t, binary, dir, "127.0.0.1:0", "--query-lag", "2s")
	run := rig.Start(t, dir, []string{"TWINFLEET_HUB=" + said["connectionString"].(string)}, binary, "run", scenarioFile("freshness"), "--metrics-addr", "",
		"--set", "target={hub: \"${TWINFLEET_HUB}\", plain: true}", "--set", "fleet.groups.robots.count=100",
		"--set", "stages.ramp={name: ramp, duration: 1s, devices: 100}", "--set", "stages.hold.duration=8s",
		"--set", "fleet.groups.robots.reported.every=2s", "--set", "thresholds={freshness: [\"med > 1600ms\", \"med < 10s\", \"count > 200\"]}")
	if code := run.Wait(t, time.Minute); code != 0 || !strings.Contains(run.Stdout(), "sampled 100 of 100 devices (100 %), probed every 500ms") {
		t.Errorf("exit code %d\n%s", code, run.Output())
	}
}
