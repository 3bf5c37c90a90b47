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
		"saturated": {&Health{Saturated: true, Reasons: []string{"one", "another"}}, "saturated (one; another)"},
	} {
		if got := (&Run{Generator: tt.health}).GeneratorLine(); got != tt.want {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}
