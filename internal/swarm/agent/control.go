package agent

import (
	"runtime"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus/counting"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// control is what the coordination of a run takes of this agent.
type control struct {
	traffic *counting.Bus

	mu    sync.Mutex // protects the following fields
	since time.Time
	first report.Control // what was counted then
	cpu   time.Duration  // since then
}

// begin begins anew, for another run.
func (c *control) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since, c.cpu = time.Now(), 0
	c.first = report.Control{Sent: c.traffic.Sent(), Received: c.traffic.Received()}
}

// spend does something for coordination, and notes the processor time that it takes on the thread that does it. What it waits for takes none.
func (c *control) spend(do func()) {
	runtime.LockOSThread() // else the clock is another thread's in the end
	defer runtime.UnlockOSThread()
	from := threadTime()
	do()
	took := threadTime() - from
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cpu += took
}

// taken is what coordination took since begin.
func (c *control) taken() report.Control {
	c.mu.Lock()
	defer c.mu.Unlock()
	return report.Control{
		Sent: c.traffic.Sent() - c.first.Sent, Received: c.traffic.Received() - c.first.Received, CPU: c.cpu, Over: time.Since(c.since),
	}
}

// lately is the processors in use in the last second, and by how much operations started late by the generator's own doing.
func lately(figures []metrics.Figure) (cpu float64, lag time.Duration) {
	value := make(map[string]float64)
	for _, f := range figures {
		if len(f.Labels) == 0 && len(f.Samples) == 1 {
			value[f.Name] = f.Samples[0].Value
		}
	}
	const of = "twinfleet_generator_"
	return value[of+"cpu_ratio"] * value[of+"cores"], time.Duration(value[of+"schedule_lag_seconds"] * float64(time.Second))
}
