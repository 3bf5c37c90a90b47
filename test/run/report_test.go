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

// The report in a real browser: nothing fails, nothing is fetched, and the charts are drawn.
func TestReportInChromium(t *testing.T) {
	binary, dir := rig.Build(t), t.TempDir()
	p := rig.Start(t, dir, nil, binary, "run", scenarioFile("smoke"), "--metrics-addr", "", "--set", "stages.hold.duration=4s", "--set", "thresholds={}")
	if code := p.Wait(t, time.Minute); code != 0 {
		t.Fatalf("the run ended with %d", code)
	}
	page := rig.Screenshot(t, "file://"+filepath.Join(theRecord(t, filepath.Join(dir, "runs")), "report.html"), "1280", "1800")
	for _, line := range page.Console {
		t.Errorf("console: %s", line)
	}
	// Lines of the charts, in the colours of their palette, and the cells of the heat map.
	for name, want := range map[string]color.RGBA{"blue lines": {0x09, 0x69, 0xda, 255}, "green lines": {0x1a, 0x7f, 0x37, 255}, "ochre lines": {0xbf, 0x87, 0x00, 255}} {
		n := 0
		for y := page.Image.Bounds().Min.Y; y < page.Image.Bounds().Max.Y; y++ {
			for x := page.Image.Bounds().Min.X; x < page.Image.Bounds().Max.X; x++ {
				if near(page.Image.At(x, y), want) {
					n++
				}
			}
		}
		if n < 200 {
			t.Errorf("%s: %d pixels", name, n)
		}
	}
}

func near(c color.Color, want color.RGBA) bool {
	r, g, b, _ := c.RGBA()
	far := func(x uint32, y uint8) bool { d := int(x>>8) - int(y); return d < -12 || d > 12 }
	return !far(r, want.R) && !far(g, want.G) && !far(b, want.B)
}
