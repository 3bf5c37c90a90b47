// Package watch holds a run to what its generator could do: it measures the generator while the run goes on, and says of which
// stages nothing can be said.
package watch

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/generator/judge"
	"github.com/twinfleet/twinfleet/internal/generator/meter"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Sampler measures the generator itself: what came since the last sample, of a fleet that holds so many
// connections and whose operations started by lag late (99th percentile) by the generator's own doing.
type Sampler interface {
	Sample(connections int, lag time.Duration) (generator.Sample, error)
}

// Options of a Watch.
type Options struct {
	Recorder *metrics.Recorder // required
	Sampler  Sampler           // nil measures this process
	Sources  int               // source addresses of devices; 0 is the system's choice
	// Destinations is how many hubs devices are dealt to, evenly; 1 when 0. Beside is how many processes like this one there are on this
	// machine, which share its local ports; 1 when 0.
	Destinations, Beside int

	Loopback bool // the target is on this machine
	Shared   bool // the target is in this process
	// Preparing are stages that were delivered as asked whatever they were: they only prepare for others.
	Preparing []string
	// Elsewhere says what kept the load of a stage back beside this process; nil for nothing. See Beside of judge.Judge.
	Elsewhere func(stage string) []report.Cause
}

// Watch is what a run knows of the generator that makes it. It is safe for concurrent use.
type Watch struct {
	rec     *metrics.Recorder
	sampler Sampler
	meter   *meter.Meter // nil when others sample
	spills  spills

	mu     sync.Mutex // protects the following fields
	judge  judge.Judge
	last   generator.Sample
	own    histogram.Histogram  // by how much operations started late until the last sample
	bad    time.Duration        // time of samples that a rule found bad
	cpu    time.Duration        // processors' time since the first sample
	behind func() time.Duration // of who reads messages; nil when nobody does
}

// New begins to measure, and shows the last sample on /metrics.
func New(o Options) (*Watch, error) {
	w := &Watch{rec: o.Recorder, sampler: o.Sampler}
	w.judge.Shared, w.judge.Preparing, w.judge.Beside = o.Shared, o.Preparing, o.Elsewhere
	if w.sampler == nil {
		facts, err := host.Read()
		if err == nil {
			w.meter, err = meter.New(meter.Options{Facts: facts, Sources: o.Sources, Destinations: o.Destinations, Beside: o.Beside, Loopback: o.Loopback})
		}
		if err != nil {
			return nil, fmt.Errorf("measuring the generator: %w", err)
		}
		w.sampler = w.meter
	}
	w.rec.Register(w.figures)
	return w, nil
}

// Dialer notes connections that fail for want of what the generator should have.
func (w *Watch) Dialer(dial link.Dialer) link.Dialer {
	if w.meter == nil {
		return dial
	}
	return func(ctx context.Context) (net.Conn, error) {
		nc, err := dial(ctx)
		if err != nil {
			w.meter.Failed(err)
		}
		return nc, err
	}
}

// Reads has samples say how long messages waited in this process until they were read: behind is the longest time since it was last asked.
func (w *Watch) Reads(behind func() time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behind = behind
}

// Begin starts the probe and leaves out what came before; the returned function waits for its end.
func (w *Watch) Begin(ctx context.Context) (wait func()) {
	if w.meter == nil {
		return func() {}
	}
	var running sync.WaitGroup
	running.Go(func() { w.meter.Run(ctx) })
	_, _ = w.meter.Sample(0, 0) // provisioning is no load; an error comes back with the next sample
	return running.Wait
}

// Sample takes the next sample, until the figures now.
func (w *Watch) Sample(now *metrics.Snapshot, connections int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.take(now, connections)
}

// Stage begins a stage, which the Recorder knows already: what was measured until now is of the one before. With an empty name the
// last stage is over.
func (w *Watch) Stage(name string, now *metrics.Snapshot, connections int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spills.begin(w.rec, name)
	err := w.take(now, connections)
	w.judge.Stage(name)
	return err
}

// Wait takes a sample of the wait for the last answers.
func (w *Watch) Wait(connections int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, err := w.sampler.Sample(connections, 0)
	w.addReader(&x)
	if err == nil {
		w.judge.AddWait(x)
	}
	return err
}

// take takes the next sample. The caller holds the lock.
func (w *Watch) take(now *metrics.Snapshot, connections int) error {
	var own histogram.Histogram
	for i := range now.Series {
		own = own.Merge(now.Series[i].OwnLag)
	}
	x, err := w.sampler.Sample(connections, own.Sub(w.own).Quantile(0.99))
	if err != nil {
		return err
	}
	w.addReader(&x)
	w.judge.Add(x)
	w.last, w.own = x, own
	w.cpu += time.Duration(x.CPU * float64(x.Elapsed))
	if w.judge.Bad() {
		w.bad += x.Elapsed
	}
	return nil
}

// addReader adds to a sample what the reader of messages did. The caller holds the lock.
func (w *Watch) addReader(x *generator.Sample) {
	if w.behind != nil {
		x.Behind = w.behind()
	}
}

// Health is the judgement so far of the stages that the Recorder tells apart; nil when nothing was measured.
func (w *Watch) Health() *report.Health {
	started := startedByStage(w.rec)
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.judge.Health(started)
	if h.Measured == 0 {
		return nil
	}
	if w.meter != nil {
		h.Unmeasured = w.meter.Unmeasured()
	}
	return &h
}

// Doubt says why nothing can be said of a stage so far: it was not delivered as asked, or what the one before it did not deliver
// started in it. It is "" when something can be said.
func (w *Watch) Doubt(stage string) string {
	if why := w.doubt(stage, w.judge.JudgeStage); why != "" {
		return why
	}
	before, n := w.spills.into(w.rec, stage)
	if n == 0 {
		return ""
	}
	if why := w.doubt(before, w.judge.Own); why != "" { // what devices elsewhere start late their own process judges
		return fmt.Sprintf("%s operations of the stage before it started in it: %s", human.Count(n), why)
	}
	return ""
}

// doubt says why the last stage of a name was not delivered as asked so far, by a judgement; "" when it was.
func (w *Watch) doubt(name string, of func(i int, ops []generator.Started) report.StageHealth) string {
	stage := w.rec.StageSnapshot(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	names := w.judge.Stages()
	for i := len(names) - 1; i >= 0 && stage != nil; i-- {
		if names[i] == name {
			if x := of(i, startedIn(stage)); !x.AsAsked {
				return x.String()
			}
			break
		}
	}
	return ""
}

// startedByStage is how operations started, by the stage in which they were intended.
func startedByStage(rec *metrics.Recorder) [][]generator.Started {
	var all [][]generator.Started
	for _, s := range rec.Stages() {
		if s.Stage != "" {
			all = append(all, startedIn(s))
		}
	}
	return all
}

// startedIn is how the operations of a stage started, those of all groups together.
func startedIn(stage *metrics.Snapshot) []generator.Started {
	var all []generator.Started
	for i := range stage.Series {
		x := &stage.Series[i]
		if n := len(all); n == 0 || all[n-1].Operation != string(x.Operation) {
			all = append(all, generator.Started{Operation: string(x.Operation)})
		}
		o := &all[len(all)-1]
		o.Asked += x.Scheduled()
		o.Started += x.Started()
		o.Late += x.LateOwn
		o.VeryLate += x.OwnLag.Count - x.OwnLag.Below(judge.VeryLate)
		o.Worst = max(o.Worst, x.OwnLag.Maximum())
	}
	return all
}
