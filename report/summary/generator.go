package summary

import "github.com/twinfleet/twinfleet/report"

// Generator is whether the figures speak of the target or of the generator. Figures are those of the worst
// second; times are in seconds.
type Generator struct {
	Verdict          string   `json:"verdict"`              // ok, or saturated when a stage was not delivered as asked
	Reasons          []string `json:"reasons,omitempty"`    // why it was not ok, one line each
	Unmeasured       []string `json:"unmeasured,omitempty"` // what the system does not tell, so that nothing was held to it
	Processors       int      `json:"processors"`           // that the program may use
	ProcessorsUsed   float64  `json:"processors_used"`      // in the busiest second
	TimersLate       float64  `json:"timers_late_seconds"`  // 99th percentile
	ScheduleLag      float64  `json:"schedule_lag_seconds"` // 99th percentile
	GCShare          float64  `json:"gc_share"`             // of the processors' time
	GCPause          float64  `json:"gc_pause_seconds"`     // the longest
	Memory           uint64   `json:"memory_bytes"`         // the most that was used
	MemoryLimit      uint64   `json:"memory_limit_bytes"`   // 0 when nothing says
	Descriptors      int      `json:"descriptors"`          // the most that were open
	DescriptorsLimit int      `json:"descriptors_limit"`    // that the process may have
	Ports            int      `json:"ports"`                // the most that were in use
	PortsLimit       int      `json:"ports_limit"`          // that the machine has for connections
	// Of the whole machine, by all programs, in the busiest quarter of a second; 0 where the kernel does not tell.
	MachineProcessors     int     `json:"machine_processors"`
	MachineProcessorsUsed float64 `json:"machine_processors_used"` // by all programs
	Stopped               float64 `json:"stopped_seconds"`         // the longest time for which the process stood still

	Stages []GeneratorStage `json:"stages"` // in their order; empty in old records
}

// GeneratorStage is whether a stage was delivered as asked.
type GeneratorStage struct {
	Name    string         `json:"name"`           // the stage's
	AsAsked bool           `json:"as_asked"`       // its load was the one that was asked for
	Asked   uint64         `json:"asked"`          // operations that were due in it
	Started uint64         `json:"started"`        // of them
	Late    uint64         `json:"late"`           // of them, by the generator's own doing
	Worst   float64        `json:"worst_seconds"`  // the latest of them
	What    string         `json:"what,omitempty"` // what was late, if anything was
	Causes  []report.Cause `json:"causes"`         // why it was not as asked; empty when it was
}

func generatorSummary(h *report.Health) *Generator {
	if h == nil {
		return nil
	}
	verdict := "ok"
	if h.Saturated {
		verdict = "saturated"
	}
	stages := []GeneratorStage{}
	for _, x := range h.Stages {
		stages = append(stages, GeneratorStage{x.Name, x.AsAsked, x.Asked, x.Started, x.Late, x.Worst.Seconds(), x.What, orEmpty(x.Causes)})
	}
	return &Generator{
		Stages: stages, MachineProcessors: h.Processors, MachineProcessorsUsed: h.MachinePeak, Stopped: h.Stopped.Seconds(),
		Verdict: verdict, Reasons: h.Reasons, Unmeasured: h.Unmeasured, Processors: h.Cores, ProcessorsUsed: h.CPUPeak,
		TimersLate: h.Late.Seconds(), ScheduleLag: h.Lag.Seconds(), GCShare: h.GCPeak, GCPause: h.GCPause.Seconds(),
		Memory: h.MemoryPeak, MemoryLimit: h.MemoryLimit, Descriptors: h.Descriptors, DescriptorsLimit: h.MaxDescriptors, Ports: h.Ports, PortsLimit: h.MaxPorts,
	}
}
