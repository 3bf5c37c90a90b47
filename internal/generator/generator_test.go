package generator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/host"

	"github.com/twinfleet/twinfleet/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calm is a second in which all was well.
func calm() Sample {
	return Sample{
		Elapsed: time.Second, CPU: 0.5, Cores: 2, Machine: 0.8, Own: 0.6, Processors: 2, GC: 0.02, Memory: 200e6, MemoryLimit: 1000e6,
		Descriptors: 100, MaxDescriptors: 1000, Ports: 100, MaxPorts: 28232, Late: time.Millisecond, Lag: time.Millisecond,
	}
}

func with(change func(s *Sample)) Sample {
	s := calm()
	change(&s)
	return s
}

func repeat(s Sample, n int) []Sample { return slices.Repeat([]Sample{s}, n) }

func TestHealthKeepsTheWorst(t *testing.T) {
	j := Judge{Shared: true}
	j.Stage("hold")
	j.Add(calm())
	if j.Bad() {
		t.Error("a calm second is bad")
	}
	j.Add(with(func(s *Sample) {
		s.Elapsed, s.CPU, s.Late, s.Lag, s.GC, s.GCPause = 3*time.Second, 1.5, 30*time.Millisecond, 50*time.Millisecond, 0.3, time.Millisecond
		s.Memory, s.Descriptors, s.Ports = 300e6, 500, 900
	}))
	if !j.Bad() {
		t.Error("a second with a third of the time for garbage is not bad")
	}
	j.Add(calm())
	want := report.Health{
		Measured: 5 * time.Second, Cores: 2, Processors: 2, MachinePeak: 0.8, CPUMean: 1.1, CPUPeak: 1.5, Late: 30 * time.Millisecond,
		Lag: 50 * time.Millisecond, GCPeak: 0.3, GCPause: time.Millisecond,
		MemoryPeak: 300e6, MemoryLimit: 1000e6, Descriptors: 500, MaxDescriptors: 1000, Ports: 900, MaxPorts: 28232,
	}
	got := j.Health(nil)
	got.Stages, got.Saturated, got.Reasons = nil, false, nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("health = %+v; want %+v", got, want)
	}
	for range 10 {
		j.Add(with(func(s *Sample) { s.GC = 0.9 }))
	}
	reasons := j.Health(nil).Reasons
	if len(reasons) != 2 || !strings.Contains(reasons[1], "the embedded hub ran in this process") {
		t.Errorf("reasons = %q; the last must name the hub", reasons)
	}
}

// Bad seconds make a verdict more likely, never less: whatever the samples, one that is worse in
// everything changes saturated to ok for no run.
func TestWorseNeverHelps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "seconds")
		at := rapid.IntRange(0, n-1).Draw(t, "at")
		var j, worse Judge
		j.Stage("hold")
		worse.Stage("hold")
		for i := range n {
			s := with(func(s *Sample) {
				s.CPU = rapid.SampledFrom([]float64{0.5, 1.95}).Draw(t, "cpu")
				s.Late = time.Duration(rapid.SampledFrom([]int{1, 50}).Draw(t, "late")) * time.Millisecond
				s.Lag = time.Duration(rapid.SampledFrom([]int{1, 50}).Draw(t, "lag")) * time.Millisecond
				s.GC = rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "gc")
			})
			j.Add(s)
			if i == at {
				s.GC, s.Descriptors, s.Ports, s.Stopped = 1, 1000, 28232, time.Minute
			}
			worse.Add(s)
		}
		if h := j.Health(nil); h.Saturated && !worse.Health(nil).Saturated {
			t.Fatalf("saturated became ok: %q", h.Reasons)
		}
	})
}

func TestProbe(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, tt := range []struct {
		woke int // milliseconds after the start; a wake-up was due at 10
		next int
		late []time.Duration
	}{
		{10, 20, []time.Duration{0}},
		{13, 20, []time.Duration{3 * time.Millisecond}},
		{20, 30, []time.Duration{10 * time.Millisecond, 0}},
		{45, 50, []time.Duration{35 * time.Millisecond, 25 * time.Millisecond, 15 * time.Millisecond, 5 * time.Millisecond}},
		{9, 10, nil}, // timers may not fire early, and if one did it would not be late
	} {
		var p probe
		next := p.woke(at(tt.woke), at(10))
		if !next.Equal(at(tt.next)) || !slices.Equal(p.lateness, tt.late) {
			t.Errorf("woke at %d: next %v, late %v; want %d and %v", tt.woke, next.Sub(start), p.lateness, tt.next, tt.late)
		}
	}
	var p probe
	if got, longest := p.take(start); got != 0 || longest != 0 {
		t.Errorf("p99 of nothing = %v", got)
	}
	for i := range 200 {
		p.lateness = append(p.lateness, time.Duration(200-i)*time.Millisecond)
	}
	if got, longest := p.take(start); got != 198*time.Millisecond || longest != 200*time.Millisecond {
		t.Errorf("p99 of 1 to 200 ms = %v, longest %v; want 198ms and 200ms", got, longest)
	}
	if got, _ := p.take(start); got != 0 {
		t.Errorf("taken twice: %v", got)
	}
}

// With a clock that is never late the probe sees no lateness, a hundred times a second.
func TestProbeRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1005*time.Millisecond)
		defer cancel()
		var p probe
		p.run(ctx)
		n := len(p.lateness)
		if _, longest := p.take(time.Now()); n != 100 || longest != 0 {
			t.Errorf("%d wake-ups in a second; want 100, none late", n)
		}
	})
}

func TestMeter(t *testing.T) {
	facts, err := host.Read()
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMeter(Options{Facts: facts, Sources: 2, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(50 * time.Millisecond); time.Now().Before(until); {
	}
	runtime.GC()
	m.Failed(fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}))
	m.Failed(os.NewSyscallError("socket", syscall.EMFILE))
	m.Failed(errors.New("the target's doing"))
	s, err := m.Sample(7, 3*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if s.Elapsed < 50*time.Millisecond || s.CPU <= 0 || s.CPU > 1.5*float64(s.Cores) || s.GC <= 0 || s.GC > 1 || s.GCPause <= 0 {
		t.Errorf("a sample of a busy process that collected garbage: %+v", s)
	}
	if s.Lag != 3*time.Millisecond || s.Ports < 7 || s.MaxPorts != 2*facts.Ports || s.MaxDescriptors != facts.Descriptors || s.Descriptors == 0 ||
		s.NoPort != 1 || s.NoDescriptor != 1 {
		t.Errorf("sample = %+v", s)
	}
	next, err := m.Sample(0, 0)
	if err != nil || next.NoPort != 0 || next.NoDescriptor != 0 || next.Elapsed >= s.Elapsed+time.Minute {
		t.Errorf("the next sample counts from the last one: %+v, %v", next, err)
	}
}

// Who asks before the probe has woken sees how late it is already.
func TestProbeThatHasNotWoken(t *testing.T) {
	due := time.Unix(0, 0)
	var p probe
	p.expect(due)
	if p99, longest := p.take(due.Add(3 * time.Second)); p99 != 0 || longest != 3*time.Second {
		t.Errorf("p99 %v, longest %v; want 3s late so far", p99, longest)
	}
	if _, longest := p.take(due.Add(-time.Millisecond)); longest != 0 {
		t.Errorf("%v late before it is due", longest)
	}
}
