//go:build integration

package brokers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// reaching are sensors, and boards of whom little is known when they do not get in; KEYS is what a test has the boards do.
const reaching = `
target: {hub: "HUB", mqtt: "VERSION"}
fleet:
  groups:
    - {name: s-NAME, count: 3, timeout: 3s, telemetry: {topic: "NAME/{index}/up", every: 200ms, qos: 1, deliveries: all}, IDENTITY}
    - {name: b-NAME, timeout: 3s, KEYS}
stages: [{name: ramp, devices: 100%, connect_rate: 20/s}, {name: hold, duration: 3s}]
thresholds: {delivery: ["timeouts == 0", "error_rate < 1%", "duplicates == 0"]}
`

// TestReach has real brokers refuse some devices, whose run must fail by their number, and remember sessions of a run that was killed.
func TestReach(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	p := newPKI(t, dir)
	for _, b := range []*broker{mosquitto(t, p, dir), mochi(t, p)} {
		for _, version := range []string{"3.1.1", "5"} {
			name := b.name + "-v" + strings.ReplaceAll(version, ".", "-")
			begin := func(t *testing.T, dir string, at way, identity, keys string) *rig.Process {
				t.Helper()
				text := strings.NewReplacer("HUB", b.urlOf(at), "VERSION", version, "IDENTITY", identity, "KEYS", keys).Replace(reaching)
				text = strings.ReplaceAll(text, "NAME", name)
				if err := os.WriteFile(filepath.Join(dir, "reach.yaml"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return rig.Start(t, dir, nil, binary, "run", "reach.yaml", "--metrics-addr", "", "--no-ui", "--plain", "--allow-saturated")
			}
			holds := func(t *testing.T, run *rig.Process, code int, says string, is bool) {
				t.Helper()
				if got := run.Wait(t, 50*time.Second); got != code || strings.Contains(run.Stdout(), says) != is {
					t.Errorf("exit code %d; want %d; %q should be said: %v\n%s", got, code, says, is, run.Output())
				}
			}
			t.Run("some are refused/"+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				for file, rows := range map[string]string{
					"good.csv": "client_id,username,password\ng1-NAME,d-000000,p-000000\ng2-NAME,d-000000,p-000000\ng3-NAME,d-000000,p-000000\n",
					"rows.csv": "client_id,username,password\nr1-NAME,d-000000,p-000000\nr2-NAME,d-000001,wrong\nr3-NAME,d-000001,wrong\n",
				} {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.ReplaceAll(rows, "NAME", name)), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				run := begin(t, dir, locked, "identity: {credentials: good.csv}", `identity: {credentials: rows.csv}, subscribe: {topics: ["NAME/#"], qos: 1}`)
				holds(t, run, 1, fmt.Sprintf("2 of 3 devices of b-%s tried to connect and never once did: connect: ", name), true)
			})
			t.Run("sessions from before/"+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				const none = "backoff: steep"
				killed := begin(t, dir, clear, none, `count: 2, session: {clean: false}, subscribe: {topics: ["NAME/#"], qos: 1}`)
				if !killed.Says(" 5 connected ", 20*time.Second) {
					t.Fatalf("not all devices connected:\n%s", killed.Output())
				}
				killed.Kill()
				keys := `count: 2, session: {clean: false}, subscribe: {topics: ["NAME/000001/+"], qos: 1}`
				holds(t, begin(t, dir, clear, none, keys), 0, fmt.Sprintf("b-%s: the broker had sessions of 2 devices that are none of this run", name), version == "3.1.1")
				holds(t, begin(t, dir, clear, none, keys), 0, "none of this run", false)
			})
		}
	}
}
