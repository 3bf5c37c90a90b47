package progress_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/capacity/progress"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/scenario"
)

func tell(t *testing.T, width int) string {
	t.Helper()
	sc, err := scenario.Decode("x.yaml", []byte("fleet: {groups: [{name: a}]}\nstages: [{name: connect, duration: 5s, devices: 1}, {name: hold, duration: 30s}]"), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	p := progress.New(&b, color.Style{}, trial.ReportRate, width)
	p.Say("begin")
	p.Begin(search.Asked{Number: 3, Load: 47.5, Phase: search.Narrow}, &trial.Trial{Scenario: sc, Load: 47.5})
	p.Observer().Event(report.Event{Kind: report.KindStage, Text: "hold"})
	if !strings.Contains(p.Status(), "47.5 reports/s  hold") {
		t.Errorf("status %q", p.Status())
	}
	if _, err := p.Write([]byte("a log line\n")); err != nil {
		t.Fatal(err)
	}
	p.End(trial.Record{Number: 3, Load: 47.5, Verdict: search.Missed, Limit: trial.ByThrottle, Class: "twin updates", Offered: 47.5, Done: 47, P99: 3.2})
	p.End(trial.Record{Number: 4, Load: 40, Verdict: search.Undelivered, Why: strings.Repeat("late ", 40)})
	p.Close()
	return b.String()
}

// Without a terminal there are lines, and nothing else.
func TestLines(t *testing.T) {
	want := `begin
trial 3: 47.5 reports/s (between what held and what did not), about 35s
a log line
✗  3  47.5 reports/s     missed         47.0/s done  p99 3.20s    throttle of twin updates
?  4  40 reports/s       undelivered ` + strings.TrimSpace(strings.Repeat("late ", 40)) + "\n"
	if got := tell(t, 0); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// On a terminal the last line changes; log lines stand above it, and no line is broken.
func TestTerminal(t *testing.T) {
	got := tell(t, 60)
	for _, line := range strings.Split(got, "\n") {
		parts := strings.Split(line, "\r\x1b[K")
		if last := []rune(parts[len(parts)-1]); len(last) >= 60 {
			t.Errorf("%d characters: %s", len(last), string(last))
		}
	}
	if !strings.Contains(got, "\r\x1b[Ka log line\n") || strings.HasSuffix(got, "hold") {
		t.Errorf("%q", got)
	}
}
