//go:build integration

package run

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// mochi starts a mochi-mqtt server and returns its address.
func mochi(t *testing.T) string {
	t.Helper()
	addr := loopback.Free(t)
	s := mqtt.New(nil)
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: addr})); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve() }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	rig.Listening(t, addr, 10*time.Second)
	return addr
}

// runAt runs devices at a broker, whose first has a number.
func runAt(t *testing.T, broker, version string, first int) *report.Run {
	sc, err := scenario.Decode("x.yaml", fmt.Appendf(nil, `
target: {hub: "mqtt://%s", mqtt: %s}
fleet: {client: lean, groups: [{name: a, count: 20, first_index: %d, telemetry: {every: 1s}}]}
stages: [{name: up, duration: 1s, devices: 20}, {name: hold, duration: 10s}]
`, broker, version, first), scenario.Options{})
	if err != nil {
		t.Error(err)
		return nil
	}
	return engine.New(engine.Options{Scenario: sc, Recorder: metrics.NewRecorder(metrics.Options{}), AllowSaturated: true}).Run(t.Context())
}

// Two runs with one set of client ids are told of each other, and two with different numbers have nothing to be told of.
func TestTwoRunsAtOneBroker(t *testing.T) {
	for name, open := range map[string]func(*testing.T) string{"Mosquitto": func(t *testing.T) string { return rig.Mosquitto(t) }, "mochi": mochi} {
		for i := range 4 {
			version, second, told := []string{"3.1.1", "5"}[i%2], i/2*20, i < 2
			t.Run(fmt.Sprintf("%s/%s/%d", name, version, second), func(t *testing.T) {
				t.Parallel()
				broker, want := open(t), "another client is likely to use the client ids of this run"
				if name == "mochi" && version == "5" { // Mosquitto 2.0.11 says nothing, over MQTT 5 either
					want = "another client uses the client ids of this run, as the target says"
				}
				var runs [2]*report.Run
				var both sync.WaitGroup
				for i := range runs {
					both.Go(func() { runs[i] = runAt(t, broker, version, i*second) })
				}
				both.Wait()
				for i, r := range runs {
					if r == nil {
						continue
					}
					said := r.Reason
					if strings.Contains(want, "likely") { // of a guess it does not fail, but of devices that are not there
						said = r.Suspicion
					}
					if got := strings.Contains(said, want); got != told || told == (r.Outcome == report.Passed) {
						t.Errorf("run %d: %s: %s; likely: %s", i, r.Outcome, r.Reason, r.Suspicion)
					}
				}
			})
		}
	}
}

// A broker that restarts, again and again, is not taken for another client.
func TestRestartsOfABroker(t *testing.T) {
	addr := loopback.Free(t)
	host, port, _ := strings.Cut(addr, ":")
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listener %s %s\nallow_anonymous true\nuser root\n", port, host), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *rig.Process {
		p := rig.Start(t, t.TempDir(), nil, rig.Program(t, "mosquitto"), "-c", conf)
		rig.Listening(t, addr, 10*time.Second)
		return p
	}
	p := start()
	done := make(chan *report.Run, 1)
	go func() { done <- runAt(t, addr, "3.1.1", 0) }()
	for {
		select {
		case r := <-done:
			if r != nil && strings.Contains(r.Reason+r.Suspicion, "another client") {
				t.Errorf("%s: %s", r.Outcome, r.Reason)
			}
			return
		case <-time.After(1200 * time.Millisecond):
			p.Kill()
			p = start()
		}
	}
}

// Mosquitto takes devices by their certificates, of an authority or of files, and for their passwords.
func TestDevicesOfMosquitto(t *testing.T) {
	dir := t.TempDir()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := func(private any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ca := write("ca.pem", "CERTIFICATE", a.Certificate().Raw)
	write("ca.key", "PRIVATE KEY", key(a.TLS().PrivateKey))
	for _, id := range []string{"server", "files-01", "files-02"} {
		made, err := a.Device(id)
		if err != nil {
			t.Fatal(err)
		}
		write(id+".pem", "CERTIFICATE", made.Certificate[0])
		write(id+".key", "PRIVATE KEY", key(made.PrivateKey))
	}
	rows := "client_id,certificate,key\nrow-1,files-01.pem,files-01.key\nrow-2,files-02.pem,files-02.key\n"
	if err := os.WriteFile(filepath.Join(dir, "rows.csv"), []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := rig.Mosquitto(t, "cafile "+ca, "certfile "+filepath.Join(dir, "server.pem"), "keyfile "+filepath.Join(dir, "server.key"),
		"require_certificate true", "use_identity_as_username true")
	for _, client := range []string{"lean", "paho"} {
		sc, err := scenario.Decode(filepath.Join(dir, "x.yaml"), fmt.Appendf(nil, `
target: {hub: "mqtts://%s", tls: {insecure: true}}
fleet:
  client: %s
  groups:
    - {name: signed, count: 2, identity: {x509: {ca: ca.pem, key: ca.key}}, telemetry: {every: 200ms}}
    - {name: files, count: 2, first_index: 1, index_width: 2, client_id: "", identity: {x509: {certificate: "{device}.pem", key: "{device}.key"}}, telemetry: {every: 200ms}}
    - {name: rows, identity: {credentials: rows.csv}, telemetry: {every: 200ms}}
stages: [{name: hold, duration: 2s, devices: 6, steps: [{await: {connected: 6}}]}]
`, broker, client), scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := engine.New(engine.Options{Scenario: sc, Recorder: metrics.NewRecorder(metrics.Options{}), AllowSaturated: true}).Run(t.Context())
		for _, g := range []string{"signed", "files", "rows"} {
			if s := r.Totals.Find(metrics.OpConnect, g); s == nil || s.Count(metrics.OK) != 2 {
				t.Errorf("%s, %s: %s: %s", client, g, r.Outcome, r.Reason)
			}
		}
	}
}
