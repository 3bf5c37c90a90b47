package scenario_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/scenario"
)

// Of more groups and kinds of messages than metrics tell apart no threshold is about one: it might be judged by nothing, or by a part.
func TestThresholdsOnOneOfTooManyGroups(t *testing.T) {
	for _, n := range []int{scenario.MostSeries / 2, scenario.MostSeries/2 + 1} {
		var b strings.Builder
		b.WriteString("target: {hub: \"mqtt://127.0.0.1\"}\nfleet:\n  groups:\n")
		for i := range n {
			fmt.Fprintf(&b, "    - {name: g%d, telemetry: {every: 1s, topic: t}, messages: [{name: a, every: 1s, topic: a}]}\n", i)
		}
		b.WriteString("stages: [{name: s, devices: 100%, duration: 10s}]\nthresholds: {'telemetry{group=g7}': [errors == 0], telemetry: [errors == 0]}\n")
		s, err := scenario.Decode("many.yaml", []byte(b.String()), scenario.Options{})
		switch {
		case 2*n <= scenario.MostSeries && (err != nil || s.Series() != 2*n):
			t.Errorf("%d groups: %v", n, err)
		case 2*n > scenario.MostSeries && (err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), "metrics tell 1000 apart")):
			t.Errorf("%d groups: %v", n, err)
		}
	}
}
