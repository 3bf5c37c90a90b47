//go:build integration

package counting

import (
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
	"github.com/twinfleet/twinfleet/test/loopback"
	"github.com/twinfleet/twinfleet/test/rig"
)

// broker is one that none of this project wrote.
type broker struct {
	name  string
	start func(t *testing.T) (addr string)
}

func brokers() []broker {
	return []broker{
		{"mosquitto", func(t *testing.T) string {
			return rig.Mosquitto(t, "max_inflight_messages 0", "set_tcp_nodelay true", "log_type none")
		}},
		{"mochi", mochi},
	}
}

// mosquitto is one that can be restarted. It keeps nothing unless it is told so.
type mosquitto struct {
	addr, dir string
	process   *rig.Process
}

func newMosquitto(t *testing.T, more ...string) *mosquitto {
	t.Helper()
	b := &mosquitto{addr: loopback.Free(t), dir: t.TempDir()}
	host, port, err := net.SplitHostPort(b.addr)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("listener %s %s\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\nlog_type none\n", port, host)
	for _, line := range more {
		text += strings.ReplaceAll(line, "DIR", b.dir) + "\n"
	}
	if os.Geteuid() == 0 {
		text += "user root\n"
	}
	if err := os.WriteFile(filepath.Join(b.dir, "mosquitto.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.begin(t)
	return b
}

func (b *mosquitto) begin(t *testing.T) {
	t.Helper()
	b.process = rig.Start(t, b.dir, nil, rig.Program(t, "mosquitto"), "-c", filepath.Join(b.dir, "mosquitto.conf"))
	rig.Listening(t, b.addr, 10*time.Second)
}

// restart kills it and starts another.
func (b *mosquitto) restart(t *testing.T) {
	b.process.Kill()
	b.begin(t)
}

// again ends it as a system does, so that it keeps what it is told to, and starts another.
func (b *mosquitto) again(t *testing.T) {
	b.process.Signal(t, syscall.SIGTERM)
	if !b.process.Ended(10 * time.Second) {
		t.Error("Mosquitto does not end")
	}
	b.begin(t)
}

func mochi(t *testing.T) string {
	t.Helper()
	b := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := b.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.AddListener(listeners.NewNet("tcp", l)); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return l.Addr().String()
}

// between is a proxy before a broker, which ends before the broker does.
func between(t *testing.T, addr string) *Proxy {
	t.Helper()
	p, err := NewProxy(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// carry runs a scenario whose target is the proxy; in it "PROXY" stands for its address. What waits to be swapped waits for half a second at most.
func carry(t *testing.T, p *Proxy, text string) *report.Run {
	t.Helper()
	s, err := scenario.Decode("counting.yaml", []byte(strings.ReplaceAll(text, "PROXY", p.Addr())), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.Release()
			case <-over:
				return
			}
		}
	}()
	run := engine.New(engine.Options{Scenario: s, Recorder: metrics.NewRecorder(metrics.Options{}), AllowSaturated: true}).Run(t.Context())
	close(over)
	<-ended
	missing := 0
	if run.Deliveries != nil {
		for _, c := range run.Deliveries.Groups {
			missing += int(c.Missing)
		}
	}
	switch lost := strings.Contains(run.Reason, "never arrived, though the broker acknowledged the messages"); {
	case run.Outcome == report.Failed && !lost:
		t.Fatalf("%s: %s", run.Outcome, run.Reason)
	case (run.Outcome == report.Failed) != (missing > 0):
		t.Errorf("%d copies are missing, and the run %s: %s", missing, run.Outcome, run.Reason)
	}
	return run
}

// figures are what a run says of the deliveries of a group, in the account's words.
type figures struct {
	due, ok, timeout, failed, absent int
	duplicates, late, missing, order int
}

func of(t *testing.T, run *report.Run, group string) (f figures) {
	t.Helper()
	x := run.Totals.Find(metrics.OpDelivery, group)
	if x == nil || run.Deliveries == nil {
		t.Fatalf("the run measured no deliveries of %s", group)
	}
	f.due, f.ok, f.timeout = int(x.Scheduled()), int(x.Count(metrics.OK)), int(x.Count(metrics.Timeout))
	f.absent = int(x.Count(metrics.Unanswered)) // its subscriber was not connected all the time
	f.failed = int(x.Count(metrics.Failed) + x.Count(metrics.Refused) + x.Count(metrics.Throttled))
	for _, n := range x.Dropped {
		f.absent += int(n)
	}
	for _, c := range run.Deliveries.Groups {
		if c.Group == group {
			f.duplicates, f.late, f.missing, f.order = int(c.Duplicates), int(c.Late), int(c.Missing), int(c.OutOfOrder)
		}
	}
	return f
}

// hold compares what a run says with what the wire does: the same, and of what the wire cannot decide as much as there is. unseen are copies of
// messages that the wire never saw.
func hold(t *testing.T, f figures, a Account, unseen int) {
	t.Helper()
	t.Logf("the run: %+v; the wire: %+v and %d unseen", f, a, unseen)
	if a.Messages == 0 || a.InTime == 0 || unseen < 0 {
		t.Error("nothing was delivered, or the wire saw more than the run")
	}
	if a.Strange > 0 {
		t.Errorf("%d copies came for those who did not subscribe", a.Strange)
	}
	for _, x := range []struct {
		what      string
		run, wire int
	}{
		{"in time", f.ok, a.InTime},
		{"not in time", f.timeout, a.Late + a.Missing + a.Silent},
		{"absent", f.absent, a.Absent},
		{"not sent", f.failed, a.NotSent},
		{"late", f.late, a.Late},
		{"missing", f.missing, a.Missing},
		{"duplicates", f.duplicates, a.Duplicates},
		{"out of order", f.order, a.OutOfOrder},
		{"due", f.due, a.Due()},
	} {
		least, most := x.wire, x.wire+a.Edge+unseen // what is decided is so
		switch x.what {
		case "due": // copies that cannot be decided are among the wire's, also those that may be duplicates
			least, most = x.wire-a.Edge, x.wire+unseen
		case "duplicates", "out of order": // a first copy, or a later one, that the device has not seen is none
			least -= a.Edge
		}
		if x.run < least || x.run > most {
			t.Errorf("%s: the run says %d, the wire %d; %d cannot be decided, and %d were not seen", x.what, x.run, x.wire, a.Edge, unseen)
		}
	}
}

// one is true of one in so many copies, by what they are.
func one(c Copy, in uint32) bool {
	h := fnv.New32a()
	fmt.Fprint(h, c.Client, c.Mark.Device, c.Mark.Turn)
	return h.Sum32()%in == 0
}

// add adds the figures of another kind.
func (f *figures) add(x figures) {
	f.due, f.ok, f.timeout, f.failed, f.absent = f.due+x.due, f.ok+x.ok, f.timeout+x.timeout, f.failed+x.failed, f.absent+x.absent
	f.duplicates, f.late, f.missing, f.order = f.duplicates+x.duplicates, f.late+x.late, f.missing+x.missing, f.order+x.order
}

// holdDelays compares how long deliveries took with what lies between the first and the last that the wire saw of them: that is no more, and no less
// but for the way from and to the devices. Where some copies cannot be decided so many ranks may lie between.
func holdDelays(t *testing.T, a Account, run *report.Run, groups ...string) {
	t.Helper()
	var all []histogram.Histogram
	for _, g := range groups {
		all = append(all, run.Totals.Find(metrics.OpDelivery, g).Service[metrics.OK])
	}
	h, n := histogram.MergeAll(all), len(a.Delays)
	for _, q := range []float64{0.5, 0.9, 0.99, 1} {
		rank := max(1, int(math.Floor(q*float64(n)+0.5))) - 1 // as the HDR library has it
		got := h.Quantile(q)
		if low := max(rank-a.Edge-1, 0); got < a.Delays[low]*98/100-2*time.Millisecond {
			t.Errorf("%.0f%% took up to %v by the run, %v by the wire", 100*q, got, a.Delays[low])
		}
		if high := rank + a.Edge + 1; high < n && got > a.Delays[high]*102/100+closeCall {
			t.Errorf("%.0f%% took up to %v by the run, %v by the wire", 100*q, got, a.Delays[high])
		}
	}
}
