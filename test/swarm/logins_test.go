//go:build integration

package swarm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/test/rig"
)

// Devices of a broker prove who they are with what a file has of them, on whichever agent they are: the agents have neither the file nor the variable.
func TestCredentialsOnAgents(t *testing.T) {
	dir := t.TempDir()
	passwords, rows := filepath.Join(dir, "passwords"), "client_id,username,password\n"
	for i := range 6 {
		user, password := fmt.Sprintf("user-%d", i), fmt.Sprintf("hush-hush-%d", i)
		how := []string{"-b", passwords, user, password}
		if i == 0 {
			how = append([]string{"-c"}, how...)
		}
		if made := rig.Start(t, dir, nil, rig.Program(t, "mosquitto_passwd"), how...); made.Wait(t, within) != 0 {
			t.Fatal(made.Output())
		}
		if i < 4 {
			rows += fmt.Sprintf("row-%d,%s,%s\n", i, user, password)
		}
	}
	broker := rig.Mosquitto(t, "allow_anonymous false", "password_file "+passwords, "log_type all")
	for _, version := range []string{"3.1.1", "5"} {
		t.Run(version, func(t *testing.T) { credentialsOnAgents(t, broker, version, rows) })
	}
}

func credentialsOnAgents(t *testing.T, broker, version, rows string) {
	w := newWorld(t)
	w.startNATS()
	w.startAgents(2)
	if err := os.WriteFile(filepath.Join(w.dir, "rows.csv"), []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	run := rig.Start(t, w.dir, append(w.environ(), "WORD=hush-hush"), rig.Build(t), "run", scenarioIn(t, w, fmt.Sprintf(`
target: {hub: "mqtt://%s", mqtt: %s}
fleet:
  client: lean
  groups:
    - {name: rows, identity: {credentials: rows.csv}, telemetry: {every: 200ms}}
    - {name: named, count: 2, first_index: 4, index_width: 1, username: "user-{index}", password: "${WORD}-{index}", telemetry: {every: 200ms}}
stages: [{name: ramp, duration: 500ms, devices: 100%%}, {name: hold, duration: 2s}]
`, broker, version)), "--metrics-addr", "", "--no-ui", "--plain", "--nats", "nats://"+w.nats, "--agents", "2")
	if code := run.Wait(t, within); code != 0 {
		t.Fatalf("exit code %d\n%s", code, run.Output())
	}
	r := w.record()
	for group, want := range map[string]int64{"rows": 4, "named": 2} {
		if s := r.Totals.Find(metrics.OpConnect, group); s == nil || int64(s.Count(metrics.OK)) != want {
			t.Errorf("group %s: %s", group, said(r))
		}
	}
	addsUp(t, r)
	all := run.Output()
	for name, p := range w.agents {
		if p.Wait(t, within) != 0 {
			t.Errorf("%s: %s", name, p.Output())
		}
		all += p.Output()
	}
	if strings.Contains(all, "hush-hush") {
		t.Errorf("a password is in an output:\n%s", all)
	}
	err := filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "rows.csv" {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "hush-hush") {
			t.Errorf("a password is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
