//go:build integration

package run

import (
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// theRecord is the folder of the one record below a folder.
func theRecord(t *testing.T, root string) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("records %v (%v); want one", dirs, err)
	}
	return dirs[0]
}

// kill -9 of the program in the middle of a run: the reports tell of what had happened until then.
func TestRunIsKilled(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	p := rig.Start(t, dir, nil, binary, "run", scenarioFile("smoke"), "--metrics-addr", "", "--set", "stages.hold.duration=60s")
	p.Line(t, "stage 2 of 2", 30*time.Second)
	p.Line(t, " connected", 10*time.Second)
	p.Line(t, " connected", 10*time.Second)
	p.Kill()
	record := theRecord(t, filepath.Join(dir, "runs"))
	made := rig.Start(t, dir, nil, binary, "report", record)
	if code := made.Wait(t, 30*time.Second); code != 0 {
		t.Fatalf("report ended with %d", code)
	}
	if !strings.Contains(made.Stdout(), "INTERRUPTED  smoke") || !strings.Contains(made.Stdout(), "twin_report") {
		t.Errorf("summary\n%s", made.Stdout())
	}
	for name, want := range map[string]string{"report.html": "Operations a second", "summary.json": `"operation": "twin_report"`, "junit.xml": "<testcase classname=\"smoke.thresholds\"", "report.md": "| twin_report |"} {
		b, err := os.ReadFile(filepath.Join(record, name))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s (%v) lacks %q", name, err, want)
		}
	}
}

func near(c color.Color, want color.RGBA) bool {
	r, g, b, _ := c.RGBA()
	far := func(x uint32, y uint8) bool { d := int(x>>8) - int(y); return d < -12 || d > 12 }
	return !far(r, want.R) && !far(g, want.G) && !far(b, want.B)
}
