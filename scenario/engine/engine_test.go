package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

func TestMain(m *testing.M) {
	if raced {
		// A timer's channel that several goroutines of a bubble look into at once is sent to on one race context by several threads, which ends
		// the process (go.dev/issue/78156). The detector needs no second processor: it goes by what happens before what.
		runtime.GOMAXPROCS(1)
	}
	goleak.VerifyTestMain(m)
}

func decode(t testing.TB, text string, set ...string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Decode("test.yaml", []byte(text), scenario.Options{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openHub starts a hub that outlives the run, so that a test can inspect it afterwards. It has no port: atHub reaches it.
func openHub(t testing.TB, o hub.Options) (h *hub.Hub, set []string) {
	t.Helper()
	o.NoPort = true
	h, err := hub.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("closing the hub: %v", err)
		}
	})
	return h, hubAt(h)
}

// hubAt is the --set that points a scenario at a hub.
func hubAt(h *hub.Hub) []string {
	return []string{"target.hub=" + h.ConnectionString("iothubowner").Reveal(), "target.plain=true", "target.keep=true"}
}

// place is where a hub is, or was: its data is kept.
type place struct {
	t   *testing.T
	dir string

	mu  sync.Mutex // protects hub
	hub *hub.Hub   // nil while it is away
}

func openPlace(t *testing.T, dir string) *place {
	t.Helper()
	p := &place{t: t, dir: dir}
	p.open()
	t.Cleanup(p.close)
	return p
}

func (p *place) open() {
	h, err := hub.Open(context.Background(), hub.Options{DataDir: p.dir, NoPort: true})
	if err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hub = h
}

func (p *place) close() {
	p.mu.Lock()
	h := p.hub
	p.hub = nil
	p.mu.Unlock()
	if h == nil {
		return
	}
	if err := h.Close(); err != nil {
		p.t.Error(err)
	}
}

// dial reaches the hub; while it is away nothing listens.
func (p *place) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	h := p.hub
	p.mu.Unlock()
	if h == nil {
		return refused(ctx)
	}
	return h.Dial(ctx)
}

// refused is a dialler to where nothing listens.
func refused(context.Context) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// watcher collects what an Engine tells.
type watcher struct {
	mu       sync.Mutex
	events   []report.Event
	progress []report.Sample
	notify   chan struct{}
}

func newWatcher() *watcher { return &watcher{notify: make(chan struct{}, 1)} }

func (w *watcher) poke() {
	select {
	case w.notify <- struct{}{}:
	default:
	}
}

func (w *watcher) event(e report.Event) {
	w.mu.Lock()
	w.events = append(w.events, e)
	w.mu.Unlock()
	w.poke()
}

func (w *watcher) tick(p report.Sample) {
	w.mu.Lock()
	w.progress = append(w.progress, p)
	w.mu.Unlock()
	w.poke()
}

// patience is how long a test waits for what must happen. It is an end for tests that hang, and measures nothing.
const patience = 3 * time.Minute

// until waits for something that pleases.
func (w *watcher) until(t testing.TB, what string, pleases func(events []report.Event, progress []report.Sample) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		ok := pleases(w.events, w.progress)
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-w.notify:
		case <-deadline:
			last := w.last()
			t.Fatalf("%s did not happen within %v; at %v in stage %s: devices %v, errors %+v\nevents %+v", what, patience, last.At, last.Window.Stage,
				last.Total.Devices, last.Total.Errors, w.events)
		}
	}
}

// last is the last progress.
func (w *watcher) last() report.Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress[len(w.progress)-1]
}

func connected(n int) func([]report.Event, []report.Sample) bool {
	return func(_ []report.Event, p []report.Sample) bool {
		return len(p) > 0 && p[len(p)-1].Total.DevicesIn("connected") == n
	}
}

// inMemory has a run reach no network and be measured by another than this process.
func inMemory(o engine.Options, by watch.Sampler) engine.Options {
	return engine.InMemory(engine.Sampled(o, by), nil)
}

// newEngine makes an engine whose generator is not the subject: the machine that runs the tests may be busy. Its hub is in memory.
func newEngine(s *scenario.Scenario, w *watcher) *engine.Engine { return atHub(s, w, nil) }

// atHub makes an engine that reaches a hub elsewhere by a dialler.
func atHub(s *scenario.Scenario, w *watcher, dial link.Dialer) *engine.Engine {
	o := engine.Options{Scenario: s, Recorder: punctual(), Observers: []report.Observer{report.Funcs{OnEvent: w.event, OnSample: w.tick}}, AllowSaturated: true}
	return engine.New(engine.InMemory(engine.Sampled(o, calm()), dial))
}

// ends are what must have been seen before a stage ends; stages without are as long as the scenario says.
type ends map[string]func(p report.Sample) bool

// runUntil runs a scenario whose stages end when what they are for has happened, however long that takes here: give
// them more time than they need.
func runUntil(t testing.TB, s *scenario.Scenario, over ends) *report.Run {
	t.Helper()
	ended := make(map[string]bool)
	var eng *engine.Engine
	eng = engine.New(inMemory(engine.Options{
		Scenario: s, Recorder: punctual(), AllowSaturated: true,
		Observers: []report.Observer{report.Funcs{OnSample: func(p report.Sample) {
			if seen := over[p.Window.Stage]; seen != nil && !ended[p.Window.Stage] && seen(p) {
				ended[p.Window.Stage] = true
				eng.Leave(p.Window.Stage)
			}
		}}},
	}, calm()))
	return eng.Run(t.Context())
}

const small = `
name: small
seed: 7
fleet:
  groups:
    - {name: robots, count: 50, timeout: 20s, reported: {connectivity: {type: {cellular: 1, wifi: 1}}, every: 200ms}}
stages:
  - {name: ramp, duration: 500ms, devices: 50}
  - {name: hold, duration: 1h}
service:
  tags: {robots: {plant: A}}
  queries: [{name: all, every: 500ms, sql: "SELECT * FROM devices WHERE tags.plant = 'A'"}]
`

// The hub goes away in the middle of a run and comes back: devices come back with back-off, the run
// goes on, and the record tells of the gap.
func TestHubGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		place := openPlace(t, dir)
		w := newWatcher()
		eng := atHub(decode(t, small, hubAt(place.hub)...), w, place.dial)
		done := make(chan *report.Run, 1)
		go func() { done <- eng.Run(context.WithoutCancel(t.Context())) }()
		w.until(t, "all devices connected", connected(50))
		w.until(t, "all devices tagged", func(events []report.Event, _ []report.Sample) bool { // a tagging that fails ends the run
			return slices.ContainsFunc(events, func(e report.Event) bool { return e.Kind == report.KindTagging && e.Done == e.Total })
		})
		place.close()
		outage := func(back bool) func([]report.Event, []report.Sample) bool {
			return func(events []report.Event, _ []report.Sample) bool {
				return slices.ContainsFunc(events, func(e report.Event) bool { return e.Kind == report.KindOutage && e.OK == back })
			}
		}
		w.until(t, "the outage", outage(false))
		w.until(t, "connections in vain, and nobody there", func(_ []report.Event, p []report.Sample) bool {
			now := p[len(p)-1].Total
			return now.Select(metrics.OpConnect, "").Count(metrics.Failed) > 0 && now.DevicesIn("connected") == 0
		})
		place.open()
		w.until(t, "the devices' return", outage(true))
		w.until(t, "all devices reconnected", connected(50))
		eng.Stop()
		run := <-done
		if len(run.Outages) != 1 || !run.Outages[0].Recovered || run.Outages[0].Lost != 50 {
			t.Errorf("outages = %+v; want one, of 50 devices, recovered", run.Outages)
		}
		if x := run.Totals.Select(metrics.OpConnect, ""); x.Count(metrics.Failed) == 0 {
			t.Error("no connection failed while the hub was away")
		}
		for id, r := range eng.LastReports() {
			if r.Version == 0 {
				t.Errorf("%s has no acknowledged report", id)
			}
		}
	})
}

func TestStopStillReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher()
		eng := newEngine(decode(t, small), w)
		done := make(chan *report.Run, 1)
		go func() { done <- eng.Run(context.WithoutCancel(t.Context())) }()
		w.until(t, "all devices connected", connected(50))
		eng.Stop()
		eng.Stop()
		run := <-done
		if run.Outcome != report.Interrupted {
			t.Errorf("outcome = %s (%s); want interrupted", run.Outcome, run.Reason)
		}
		if x := run.Totals.Select(metrics.OpTwinReport, ""); x == nil || x.Ended() == 0 || x.InFlight() != 0 {
			t.Errorf("reports = %+v; want some, and none in flight", x)
		}
		if n := run.Totals.DevicesIn("waiting"); n != 50 {
			t.Errorf("%d devices have stopped; want 50", n)
		}
	})
}

// Whoever cancels a run does not wait for answers that never come; a polite end would, for an hour.
func TestCancelStopsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher()
		eng := newEngine(decode(t, small, "fleet.groups.robots.timeout=1h", "stages.hold.hub.stall=1h"), w)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan *report.Run, 1)
		go func() { done <- eng.Run(ctx) }()
		w.until(t, "reports without answers", func(_ []report.Event, p []report.Sample) bool {
			if len(p) == 0 || p[len(p)-1].Window.Stage != "hold" {
				return false
			}
			x := p[len(p)-1].Total.Select(metrics.OpTwinReport, "")
			return x != nil && x.InFlight() > 50
		})
		cancel()
		select {
		case run := <-done:
			if run.Outcome != report.Interrupted {
				t.Errorf("outcome = %s; want interrupted", run.Outcome)
			}
		case <-time.After(patience):
			t.Fatal("the run goes on")
		}
	})
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	const text = `
fleet: {groups: [{name: robots, count: 5, reported: {connectivity: {type: wifi}}}]}
stages: [{name: ramp, duration: 200ms, devices: 5}, {name: hold, duration: 300ms}]
`
	for _, tt := range []struct {
		name, more string
		want       report.Outcome
		reason     string
	}{
		{"no thresholds", "", report.Passed, ""},
		{"thresholds that hold", `thresholds: {connect: ["error_rate < 1%", "count >= 5"]}`, report.Passed, ""},
		{"a threshold that is missed", `thresholds: {connect: ["p(50) > 1h"]}`, report.Missed, "1 of 1 thresholds"},
		{"a threshold without data", `service: {queries: [{name: leap, cron: "0 0 29 2 *", sql: SELECT * FROM devices}]}
thresholds: {query: ["p(50) < 1s"]}`, report.Missed, "1 of 1 thresholds"},
		{"a threshold that ends the run", `thresholds: {connect: [{threshold: "count < 1", abort_on_fail: true}]}
stages: [{name: ramp, duration: 200ms, devices: 5}, {name: hold, duration: 60s}]`, report.Missed, "ended early in stage "},
		{"a threshold of a stage", `thresholds: {connect: [{threshold: "count == 5", stage: ramp}, {threshold: "count == 0", stage: hold}]}
stages: [{name: ramp, steps: [{await: {connected: 5}}], devices: 5}, {name: hold, duration: 300ms}]`, report.Passed, ""},
		{"a step that fails", `service: {queries: [{name: q, every: 1h, sql: "SELECT * FROM devices"}]}
stages: [{name: s, steps: [{query: {name: q, expect: 4, within: 100ms}}]}]`, report.Failed, "expected 4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := text
				if strings.Contains(tt.more, "stages:") {
					body = strings.Split(text, "stages:")[0]
				}
				run := newEngine(decode(t, body+tt.more), newWatcher()).Run(t.Context())
				if run.Outcome != tt.want || !strings.Contains(run.Reason, tt.reason) {
					t.Errorf("outcome = %s (%s); want %s (%s)", run.Outcome, run.Reason, tt.want, tt.reason)
				}
			})
		})
	}
}

// A target that is not there fails the run before anything was started, and names no key.
func TestUnreachableTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const key = "c2VjcmV0c2VjcmV0c2VjcmV0"
		s := decode(t, small, "target.hub=HostName=127.0.0.1:1;SharedAccessKeyName=o;SharedAccessKey="+key, "target.plain=true")
		run := atHub(s, newWatcher(), refused).Run(t.Context())
		if run.Outcome != report.Failed || !strings.Contains(run.Reason, "refused") {
			t.Errorf("outcome = %s: %s; want failed, refused", run.Outcome, run.Reason)
		}
		if b, _ := json.Marshal(run); strings.Contains(string(b), key) {
			t.Error("the record holds the key")
		}
	})
}

// A run against a hub that is not embedded removes what it made, unless it is told to keep it.
func TestIdentitiesAreRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, keep := range []bool{false, true} {
			h, set := openHub(t, hub.Options{CertDir: t.TempDir()}) // which devices reach over TLS
			set = append(set, fmt.Sprintf("target.keep=%v", keep), "stages=[{name: one, devices: 50, steps: [{await: {connected: 50, reported: 50, within: 2m}}]}]",
				"target.plain=false", "target.ca="+h.CA())
			run := atHub(decode(t, small, set...), newWatcher(), h.Dial).Run(t.Context())
			if run.Outcome != report.Passed {
				t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
			}
			want := 0
			if keep {
				want = 50
			}
			if got := h.Stats().Devices.Total; got != want {
				t.Errorf("keep %v: %d identities are left; want %d", keep, got, want)
			}
		}
	})
}

// The example that the README begins with tells its story from the hub's real answers.
func TestGettingStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join("..", "..", "configs", "scenarios", "getting-started.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		run := newEngine(decode(t, string(b)), newWatcher()).Run(t.Context())
		var story []string
		for _, s := range run.Steps {
			story = append(story, s.Text+" → "+s.Detail)
		}
		want := []string{
			"registry statistics → total 1, enabled 1, disabled 0",
			`tag 1 device of device → {"location":{"region":"US","plant":"Redmond43"}}`,
			"SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' → 1 found: myDeviceId",
			"SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity.type = 'cellular' → 0 found",
			`desired properties of 1 device: {"location":{"building":"43","floor":1}} → written to 1 device`,
			`wait for 1 connected, 1 reported → 1 connected, 1 reported (cellular); myDeviceId was told of the complete properties: {"location":{"building":"43","floor":1},"$version":2}`,
			"SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' → 1 found: myDeviceId",
			"SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity.type = 'cellular' → 1 found: myDeviceId",
			`desired properties of 1 device: {"location":{"floor":2}} → myDeviceId was told of a partial update: {"location":{"floor":2},"$version":3}`,
		}
		if got := strings.Join(story, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("the story:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
		if run.Outcome != report.Passed {
			t.Errorf("the run %s: %s", run.Outcome, run.Reason)
		}
	})
}
