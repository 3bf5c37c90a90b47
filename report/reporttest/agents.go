package reporttest

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// Agents are those of a run on n of them, each with 1,000 devices. The second was lost, the third was the bottleneck, of the fourth the clock is
// uncertain; all others were well.
func Agents(n int) []report.Agent {
	const ms = time.Millisecond
	var all []report.Agent
	for i := 1; i <= n; i++ {
		a := report.Agent{
			Name: fmt.Sprintf("agent-%d", i), Version: "1.2.3", Machine: report.Machine{OS: "linux", Arch: "amd64", CPUs: 2, Go: "go1.26.0"}, Devices: 1000,
			Connected: 1000 - i, CPU: 0.4, Lag: ms, Clock: report.Clock{Offset: time.Duration(i%7-3) * ms / 4, Uncertainty: 120 * time.Microsecond},
			Control:   report.Control{Sent: 400_000, Received: 20_000, CPU: 200 * ms, Over: 60 * time.Second},
			Generator: &report.Health{Measured: 60 * time.Second, Cores: 2, CPUMean: 0.4, CPUPeak: 0.7, Late: 2 * ms, Lag: 3 * ms, MemoryPeak: 120e6},
			Totals:    &report.Account{Scheduled: 5000, Started: 4990, OK: 4900, Dropped: 10, Errors: 90},
		}
		switch i {
		case 2:
			a.Connected = 0
			a.Lost = &report.AgentLoss{
				At: time.Date(2026, 11, 25, 12, 0, 7, 0, time.UTC), Stage: "hold", Devices: 1000, Why: "nothing was heard of it for 3s", Choice: "continue",
			}
		case 3:
			a.Generator.CPUPeak, a.Generator.Lag, a.Generator.Saturated = 2, 812*ms, true
			a.Generator.Reasons = []string{"stage hold: 200 of 2,000 telemetry started late: this process used all of the 2 processors that there are for it"}
		case 4:
			a.Clock = report.Clock{Offset: -1200 * ms, Uncertainty: 80 * ms}
		}
		all = append(all, a)
	}
	return all
}
