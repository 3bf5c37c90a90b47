package engine_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/report"
)

// That an agent's file of operations is not whole is said by the run as that of one process would be: one that could not be written takes a pass away,
// one that was too slow is a note. It is said to those who write the record too.
func TestAgentsRawFiles(t *testing.T) {
	for _, tt := range []struct {
		name    string
		whole   func(agent string) (string, error)
		outcome report.Outcome
		reason  string
		note    string
	}{
		{"all are whole", func(string) (string, error) { return "", nil }, report.Passed, "", ""},
		{"one could not be written", func(agent string) (string, error) {
			if agent == "agent-2" {
				return "", errors.New("the raw output is not whole: after 12 operations: no space left on device")
			}
			return "", nil
		}, report.Failed, "agent agent-2: the raw output is not whole: after 12 operations: no space left on device", ""},
		{
			"all were too slow", func(string) (string, error) {
				return "the raw output is not whole: 3 operations came faster than they could be written", nil
			},
			report.Passed, "", "agent agent-3: the raw output is not whole: 3 operations",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told *report.Run
				x := &swarmed{text: quietly, agents: 3, whole: tt.whole, watch: []report.Observer{report.Funcs{OnEnd: func(r *report.Run) error {
					told = &report.Run{Outcome: r.Outcome, Notes: slices.Clone(r.Notes)}
					return nil
				}}}}
				r := x.run(t)
				if r.Outcome != tt.outcome || r.Reason != tt.reason || told.Outcome != tt.outcome {
					t.Errorf("want %s, %s; told %s: %s", tt.outcome, tt.reason, told.Outcome, figures(r))
				}
				if tt.note != "" && !strings.Contains(strings.Join(told.Notes, "\n"), tt.note) {
					t.Errorf("told %q", told.Notes)
				}
			})
		})
	}
}
