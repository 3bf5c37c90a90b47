package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/metrics"
)

// What coordinators tagged before a run was taken over counts: it is not done once more, nor said to be missing, within the stages and past the
// planned end, after one takeover and after another. Of what a step may have tagged nothing is said.
func TestTagsBeforeTakeover(t *testing.T) {
	const step = `{name: hold, duration: 20s, telemetry_rate: 40/s, steps: [{tag: {group: robots, tags: {plant: B}}}]}`
	within, past := []time.Duration{4 * time.Second, 8 * time.Second}, []time.Duration{4 * time.Second, 70 * time.Second}
	for _, tt := range []struct {
		name   string
		mode   string
		steps  bool
		when   [][]time.Duration // a coordinator is lost, and another takes the run over
		tagged uint64            // calls
	}{
		{"within the stages", "patch", false, [][]time.Duration{within}, 80},
		{"past the end", "patch", false, [][]time.Duration{past}, 80},
		{"a hundred a call", "bulk", false, [][]time.Duration{past}, 1},
		{"taken over twice", "patch", false, [][]time.Duration{within, {12 * time.Second, 70 * time.Second}}, 0},
		{"a step tags too", "patch", true, [][]time.Duration{past}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := calmly() + "  tags: {robots: {plant: A}}\n  tag_mode: " + tt.mode + "\n"
				if tt.steps {
					text = strings.Replace(text, "{name: hold, duration: 20s, telemetry_rate: 40/s}", step, 1)
				}
				x := handed{text: text, agents: 3, lead: lead.Options{Alone: "finish"}}
				for _, w := range tt.when {
					x.gone, x.back = append(x.gone, w[0]), append(x.back, w[1])
				}
				r := x.run(t)
				if s := r.Totals.Find(metrics.OpTag, "robots"); s == nil || tt.tagged > 0 && s.Started() != tt.tagged {
					t.Errorf("%d tag operations; want %d; %s", s.Started(), tt.tagged, figures(r))
				}
				for _, n := range r.Notes {
					if strings.Contains(n, "tagged") {
						t.Error(n)
					}
				}
			})
		})
	}
}
