package meter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/host"
	"go.uber.org/goleak"
)

const ms = time.Millisecond

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	m, err := New(Options{Facts: facts, Sources: 2, Loopback: true})
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

// Local ports are those of each source address towards each destination, for all processes of the machine together.
func TestPorts(t *testing.T) {
	for _, x := range []struct{ sources, destinations, beside, want int }{
		{0, 0, 0, 28_232}, // the zero value is one of each
		{1, 4, 1, 4 * 28_232},
		{2, 4, 1, 8 * 28_232},
		{1, 1, 4, 7058},
		{1, 4, 4, 28_232}, // 4 agents x 15,000 at 4 hubs have 28,232 each, not 7,058
		{3, 1, 2, 42_348},
	} {
		o := Options{Facts: host.Facts{Ports: 28_232}, Sources: x.sources, Destinations: x.destinations, Beside: x.beside}
		if got := o.ports(); got != x.want {
			t.Errorf("%d sources, %d destinations, %d processes: %d; want %d", x.sources, x.destinations, x.beside, got, x.want)
		}
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

// A sample of the machine is the difference of what the kernel counted.
func TestOfMachine(t *testing.T) {
	earlier := host.Processors{
		Count: 2, Busy: 100 * time.Second, Steal: 3 * time.Second, Limit: 1.5, Periods: 10, Held: 5,
		Waiting: time.Second, Uptime: 1000 * time.Second, At: time.Unix(0, 0),
	}
	now := host.Processors{
		Count: 2, Busy: 103 * time.Second, Steal: 4 * time.Second, Limit: 1.5, Periods: 30, Held: 15,
		Waiting: 2 * time.Second, Uptime: 1062 * time.Second, At: time.Unix(2, 0),
	}
	s := generator.Sample{Elapsed: 2 * time.Second, CPU: 0.7, Machine: 1, Own: 0.2}
	ofMachine(&s, now, earlier)
	want := generator.Sample{
		Elapsed: 2 * time.Second, CPU: 0.7, Machine: 1.5, Own: 0.7, Processors: 2, Steal: 0.5, Limit: 1.5, Held: 0.5, Waiting: 0.5,
		Suspended: time.Minute,
	}
	if s != want {
		t.Errorf("%+v; want %+v", s, want)
	}
	for name, pair := range map[string][2]host.Processors{"not asked now": {{}, earlier}, "not asked before": {now, {}}} {
		s := generator.Sample{Elapsed: time.Second}
		ofMachine(&s, pair[0], pair[1])
		if s != (generator.Sample{Elapsed: time.Second}) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestPeaks(t *testing.T) {
	epoch := time.Unix(0, 0)
	at := func(n int, machine, own time.Duration) used {
		return used{epoch.Add(time.Duration(n) * 250 * ms), time.Hour + machine, own}
	}
	var p peaks
	p.add(at(0, 0, 0), at(1, 100*ms, 50*ms))
	p.add(at(1, 100*ms, 50*ms), at(2, 600*ms, 250*ms))
	p.add(at(2, 600*ms, 250*ms), at(3, 700*ms, 500*ms))
	p.add(used{epoch, time.Hour, 0}, used{epoch.Add(ms), 2 * time.Hour, time.Hour})   // too short
	p.add(used{epoch, 0, 0}, used{epoch.Add(time.Second), time.Hour, 30 * time.Hour}) // the kernel was not asked
	if machine, own := p.take(); machine != 2 || own != 0.8 {
		t.Errorf("busiest: %v, of them own %v; want 2 and 0.8", machine, own)
	}
	if machine, own := p.take(); machine != 0 || own != 0 {
		t.Errorf("taken twice: %v, %v", machine, own)
	}
}
