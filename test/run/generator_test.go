//go:build integration

package run

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

const stoppable = `
name: stoppable
fleet: {groups: [{name: robots, count: 20, reported: {connectivity: {type: wifi}, every: 1s}}]}
stages: [{name: ramp, duration: 1s, devices: 20}, {name: hold, duration: 7s}]
thresholds:
  twin_report: ["p(99) < 1s"]
`

// A run whose process is stopped for half of it does not blame the target.
func TestStoppedProcess(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "stoppable.yaml"), []byte(stoppable), 0o600); err != nil {
		t.Fatal(err)
	}
	p := rig.Start(t, dir, []string{"TWINFLEET_ALLOW_SATURATED=false"}, rig.Build(t), "run", "stoppable.yaml", "--metrics-addr", "", "--no-ui")
	p.Line(t, "stage 2 of 2: hold", time.Minute)
	p.Signal(t, syscall.SIGSTOP)
	time.Sleep(4 * time.Second)
	p.Signal(t, syscall.SIGCONT)
	if code := p.Wait(t, time.Minute); code != 98 {
		t.Errorf("exit code %d; want 98", code)
	}
	for _, want := range []string{`SATURATED  stoppable`, `✗ generator: saturated \(.*stage \w+: .*the process was stopped for \d+\.\d s`, `\? twin_report: p\(99\) < 1s .*: cannot say`} {
		if !regexp.MustCompile(want).MatchString(p.Stdout()) {
			t.Errorf("the summary lacks %s", want)
		}
	}
	if strings.Contains(p.Stdout(), "✗ twin_report") {
		t.Error("a threshold is said to be missed")
	}
}
