package agent

import (
	"runtime"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus/counting"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/metrics"
)

// Work for coordination costs what it costs the thread; what waits costs nothing, and another run begins from nothing.
func TestControl(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no clock of a thread")
	}
	b := (&membus.Server{}).Connect()
	defer b.Close()
	c := &control{traffic: counting.New(b)}
	c.begin()
	c.spend(func() { time.Sleep(50 * time.Millisecond) })
	waited := c.taken()
	c.spend(func() {
		for from := threadTime(); threadTime()-from < 50*time.Millisecond; {
			runtime.Gosched()
		}
	})
	worked := c.taken()
	if waited.CPU > 25*time.Millisecond || worked.CPU-waited.CPU < 50*time.Millisecond || worked.Over < waited.Over {
		t.Errorf("waiting took %s, work %s", waited.CPU, worked.CPU-waited.CPU)
	}
	if err := c.traffic.Publish("a.b", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if got := c.taken(); got.Sent != 8 {
		t.Errorf("sent %d bytes", got.Sent)
	}
	c.begin()
	if got := c.taken(); got.Sent != 0 || got.CPU != 0 {
		t.Errorf("another run begins with %+v", got)
	}
}

func TestLately(t *testing.T) {
	cpu, lag := lately([]metrics.Figure{
		metrics.One("twinfleet_generator_cores", "", 4), metrics.One("twinfleet_generator_cpu_ratio", "", 0.25), metrics.One("twinfleet_generator_schedule_lag_seconds", "", 0.002),
	})
	if cpu != 1 || lag != 2*time.Millisecond {
		t.Errorf("%v processors, %s late", cpu, lag)
	}
}
