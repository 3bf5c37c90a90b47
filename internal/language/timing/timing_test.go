package timing_test

import (
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/schedule/chance"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

// read reads one value; it returns what was wrong.
func read(t *testing.T, v language.Value, text string) string {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	r := language.NewReader("x.yaml")
	v.Read(r, "at", doc.Content[0])
	if err := r.Err(); err != nil {
		return err.Error()
	}
	return ""
}

// Times are read with their bounds, and gaps as a mean beside what is drawn.
func TestTimes(t *testing.T) {
	var d, mean time.Duration
	var gaps chance.Distribution
	for _, x := range []struct {
		value   language.Value
		text    string
		problem string
		mean    time.Duration
	}{
		{timing.Duration(&d, time.Second), "90s", "", 0},
		{timing.Duration(&d, time.Second), "10ms", "too short; use at least 1s", 0},
		{timing.Duration(&d, 0), "20000h", "too long", 0},
		{timing.Duration(&d, 0), "10", "write a number with a unit", 0},
		{timing.Seconds(&d), "1500ms", "whole number of seconds", 0},
		{timing.Seconds(&d), "-1s", "too short", 0},
		{timing.Seconds(&d), "1m30s", "", 0},
		{timing.KeepAlive(&d), "1500ms", "whole number of seconds", 0},
		{timing.KeepAlive(&d), "65536s", "MQTT has at most", 0},
		{timing.Gaps(&mean, &gaps), "1.5s", "", 1500 * time.Millisecond},
		{timing.Gaps(&mean, &gaps), "10s..20s", "", 15 * time.Second},
		{timing.Gaps(&mean, &gaps), "~7s", "", 7 * time.Second},
		{timing.Gaps(&mean, &gaps), "normal(7s, 1s)", "does not say how often", 0},
	} {
		mean = 0
		got := read(t, x.value, x.text)
		if (got == "") != (x.problem == "") || !strings.Contains(got, x.problem) || mean != x.mean {
			t.Errorf("%s: %q, mean %s; want %q, %s", x.text, got, mean, x.problem, x.mean)
		}
	}
	if d != 90*time.Second {
		t.Errorf("the time is %s; what was wrong must not change it", d)
	}
	var c *cron.Expression
	if got := read(t, timing.Cron(&c), "0 3 * * *"); got != "" || c.String() != "0 3 * * *" {
		t.Errorf("cron: %s", got)
	}
}
