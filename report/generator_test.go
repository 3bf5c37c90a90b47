package report

import "testing"

// The line says what the system tells, and what it does not.
func TestGeneratorLine(t *testing.T) {
	for name, tt := range map[string]struct {
		health *Health
		want   string
	}{
		"never measured": {nil, ""},
		"all is told": {
			&Health{Cores: 2, CPUPeak: 0.7, Processors: 4, MachinePeak: 1.1, MemoryPeak: 50e6, Descriptors: 120, MaxDescriptors: 20_000, Late: 2e6},
			"ok (at most 0.7 of 2 processors, all programs 1.1, 50 MB, 120 of 20,000 descriptors, timers 2.00ms late)",
		},
		"a system that tells less": {
			&Health{Cores: 2, CPUPeak: 0.7, MemoryPeak: 50e6, Descriptors: 120, Late: 2e6, Unmeasured: []string{"memory", "the range of local ports"}},
			"ok (at most 0.7 of 2 processors, 50 MB, 120 descriptors, timers 2.00ms late; this system does not tell memory, the range of local ports)",
		},
		"agents": {
			&Health{Saturated: true, Reasons: []string{"stage a: agent-2 was lost"}, Stages: []StageHealth{{Name: "a", Causes: []Cause{{CauseAgents, "agent-2 was lost"}}}}},
			"not as asked: stage a: agent-2 was lost",
		},
		"nobody": {
			&Health{Saturated: true, Reasons: []string{"stage a: nobody led it"}, Stages: []StageHealth{{Name: "a", Causes: []Cause{{CauseUnled, "nobody led it"}}}}},
			"not as asked: stage a: nobody led it",
		},
		"saturated": {&Health{Saturated: true, Reasons: []string{"one", "another"}}, "saturated (one; another)"},
	} {
		if got := (&Run{Generator: tt.health}).GeneratorLine(); got != tt.want {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}
