package files_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/generator/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/junit"
	"github.com/twinfleet/twinfleet/report/markdown"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/summary"
	"github.com/twinfleet/twinfleet/report/text"
)

// Every report says which stages were not delivered as asked, why, and of which thresholds nothing can be said.
func TestNotAsAsked(t *testing.T) {
	h := reporttest.Example(5)
	var j judge.Judge
	for _, name := range []string{"ramp", "hold", "down"} {
		j.Stage(name)
		j.Add(generator.Sample{Elapsed: time.Second, Cores: 2, CPU: 0.9, Own: 0.9, Machine: 2, Processors: 2, Lag: time.Second})
	}
	storm := []generator.Started{{Operation: "connect", Asked: 8000, Started: 8000, Late: 7887, VeryLate: 7000, Worst: 4 * time.Second}}
	health := j.Health([][]generator.Started{storm, nil, storm})
	h.Run.Generator = &health
	h.Run.Outcome = report.Saturated
	h.Run.Thresholds = []threshold.Verdict{{Threshold: "connect: p(99) < 250ms", Observed: "p(99) = 4s", CannotSay: true, Why: "stage ramp: late"}}
	const late = "7887 of 8000 connect operations started late, by up to 4.0 s: 2.0 of 2 processors of this machine were in use, 0.9 by this process"
	for name, tt := range map[string]struct {
		write func(io.Writer) error
		want  []string
	}{
		"summary": {func(w io.Writer) error { return text.Write(w, h.Run, color.Style{}) }, []string{
			"✗ generator: saturated (stage ramp: " + late, "✗ generator: saturated (stage down: " + late,
			"? connect: p(99) < 250ms  p(99) = 4s: cannot say, the load was not the one asked for",
		}},
		"markdown": {func(w io.Writer) error { return markdown.Write(w, h.Run) }, []string{
			"Generator: saturated (stage ramp: " + late, "Generator: saturated (stage down: " + late, "| ❔ | `connect: p(99) < 250ms` | p(99) = 4s: cannot say",
		}},
		"junit": {
			func(w io.Writer) error { return junit.Write(w, h.Run) },
			[]string{`<error message="cannot say: stage ramp: late"><![CDATA[connect: p(99) < 250ms: p(99) = 4s]]></error>`},
		},
		"json": {func(w io.Writer) error { return summary.Write(w, h.Run) }, []string{
			`"cannot_say": true`, `"why": "stage ramp: late"`, `"as_asked": false`, `"late": 7887`, `"worst_seconds": 4`, `"kind": "machine"`,
		}},
		"html": {func(w io.Writer) error { return html.Write(w, h, nil) }, []string{"stage ramp: " + late, "stage down: " + late, "p(99) = 4s: cannot say"}},
	} {
		var b bytes.Buffer
		if err := tt.write(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s lacks %q:\n%.4000s", name, want, b.String())
			}
		}
	}
}
