//go:build integration

package run

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// What plan says that a run takes of this machine's memory it takes, more or less: how far the heap has come when
// a short run ends is partly chance. docs/capacity.md has the figures of long ones.
func TestMemoryIsAsPlanned(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	const fleet = "fleet: {groups: [{name: a, count: %d%s}]}\nstages: [{name: ramp, duration: 5s, devices: %[1]d}, {name: hold, duration: 15s}]\ngenerator: {saturated: warn}\n"
	for name, text := range map[string]string{
		"idle": fmt.Sprintf(fleet, 600, ""),
		"busy": fmt.Sprintf(fleet, 300, ", reported: {connectivity: {type: wifi}, every: 2s}, telemetry: {every: 1s}"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(dir, name+".yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var planned struct {
				Machine struct {
					Memory float64 `json:"memory_bytes"`
				} `json:"machine"`
			}
			out, err := exec.CommandContext(t.Context(), binary, "plan", file, "--json").Output()
			if err == nil {
				err = json.Unmarshal(out, &planned)
			}
			if err != nil {
				t.Fatalf("plan: %v\n%s", err, out)
			}
			p := rig.Start(t, dir, nil, binary, "run", file, "--metrics-addr", "", "--no-ui", "--out", name)
			if code := p.Wait(t, 2*time.Minute); code != 0 {
				t.Fatalf("run: exit code %d\n%s", code, p.Output())
			}
			var ran struct {
				Generator struct {
					Peak float64 `json:"memory_bytes"`
				} `json:"generator"`
			}
			summaries, err := filepath.Glob(filepath.Join(dir, name, "*", "summary.json"))
			if err != nil || len(summaries) != 1 {
				t.Fatalf("summaries %v, %v", summaries, err)
			}
			b, err := os.ReadFile(summaries[0])
			if err == nil {
				err = json.Unmarshal(b, &ran)
			}
			if err != nil || ran.Generator.Peak == 0 {
				t.Fatalf("%v, peak %v", err, ran.Generator.Peak)
			}
			ratio := planned.Machine.Memory / ran.Generator.Peak
			t.Logf("%s: planned %.0f MB, used %.0f MB: %.2f", name, planned.Machine.Memory/1e6, ran.Generator.Peak/1e6, ratio)
			if ratio < 0.65 || ratio > 1.55 {
				t.Errorf("%s: planned %.0f MB, used %.0f MB", name, planned.Machine.Memory/1e6, ran.Generator.Peak/1e6)
			}
		})
	}
}
