package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/swarm/agent"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/internal/swarm/clock"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

const swarming = `
name: swarming
seed: 11
fleet:
  client: lean
  groups:
    - {name: robots, count: 80, reported: {connectivity: {type: {wifi: 1, cellular: 2}}, every: 3s}, telemetry: {}}
    - {name: gates, count: 40, reported: {connectivity: {type: wifi}, every: 5s}}
stages:
  - {name: ramp, duration: 10s, devices: 100%, telemetry_rate: 19/s}
  - {name: storm, duration: 20s, storm: {drop: 30%, within: 2s}}
  - {name: hold, duration: 20s, telemetry_rate: 40/s}
service:
  queries: [{name: all, every: 4700ms, sql: SELECT * FROM devices}]
  freshness: {probe: 1900ms}
`

// swarm is agents and their bus.
type swarm struct {
	t      *testing.T
	server *membus.Server
	token  seal.Token
	stops  map[string]context.CancelFunc
	going  sync.WaitGroup
	wrap   func(name string, b bus.Bus) bus.Bus // what an agent is given for its bus; may be nil
}

// join starts an agent.
func (s *swarm) join(name string, o agent.Options) {
	s.t.Helper()
	o.Bus, o.Name, o.Token = s.server.Connect(), name, s.token
	if s.wrap != nil {
		o.Bus = s.wrap(name, o.Bus)
	}
	o.Logger = slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("agent", name)
	a, err := agent.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	s.stops[name] = cancel
	s.going.Go(func() {
		if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
			s.t.Errorf("agent %s: %v", name, err)
		}
		_ = o.Bus.Close()
	})
}

// over ends all agents.
func (s *swarm) over() {
	for _, stop := range s.stops {
		stop()
	}
	s.going.Wait()
}

// books are what devices said, on which connection: a driver that writes it down.
type books struct {
	link.Driver
	mu    sync.Mutex
	lines []string
}

func newBooks(t *testing.T) *books {
	t.Helper()
	d, err := drivers.New("lean")
	if err != nil {
		t.Fatal(err)
	}
	return &books{Driver: d}
}

func (b *books) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	b.note(o.ClientID, "connects", nil)
	c, err := b.Driver.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return &booked{c, b, o.ClientID}, nil
}

func (b *books) note(id, what string, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf("%s %s %s", id, what, body))
}

type booked struct {
	link.Conn
	books *books
	id    string
}

func (b *booked) Publish(m link.Message, done func(error)) {
	topic, _, _ := strings.Cut(m.Topic, "?")
	b.books.note(b.id, topic, m.Payload)
	b.Conn.Publish(m, done)
}

// swarmed is a run on agents, or with none in one process.
type swarmed struct {
	text     string
	agents   int
	stranger bool // an agent of others, with a token of theirs, is there too
	lead     lead.Options
	clocks   []clock.Clock // of the agents, where they are wrong
	during   func(s *swarm, l *lead.Lead)
	hard     time.Duration // when the run is to end at once; 0 for never
	ends     bool          // agents are processes that end after the run, of which the coordinator learns sooner than of what they said last
	watch    []report.Observer
	wrap     func(name string, b bus.Bus) bus.Bus       // as swarm.wrap
	whole    func(name string) (note string, err error) // of the agents' files; nil for none
	sampler  func(name string) watch.Sampler            // of the agents; nil for calm ones
	air      *air                                       // the target is this broker; nil for a hub
	rec      *metrics.Recorder
	books    *books
}

// driver is that of the devices.
func (x *swarmed) driver() link.Driver {
	if x.air != nil {
		return x.air
	}
	return x.books
}

// swarmTarget is a hub in memory, and a scenario against it, as it is and as it travels.
func swarmTarget(t *testing.T, text string) (*hub.Hub, *scenario.Scenario, *parcel.Parcel) {
	t.Helper()
	h, err := hub.Open(t.Context(), hub.Options{NoPort: true})
	if err != nil {
		t.Fatal(err)
	}
	sc, p, err := parcel.Pack("swarming.yaml", []byte(text), scenario.Options{})
	if err == nil && sc.Target.Can().Twins {
		sc, err = target.Elsewhere(sc, []connstring.Service{h.ConnectionString("iothubowner")})
	}
	if err != nil {
		t.Fatal(err)
	}
	return h, sc, p
}

func newTestSwarm(t *testing.T) *swarm {
	return &swarm{t: t, server: &membus.Server{}, token: seal.GenerateToken(), stops: make(map[string]context.CancelFunc)}
}

// run runs a scenario against a hub in memory.
func (x *swarmed) run(t *testing.T) *report.Run {
	t.Helper()
	h, sc, p := swarmTarget(t, x.text)
	defer h.Close()
	x.books = newBooks(t)
	x.rec = metrics.NewRecorder(metrics.Options{})
	o := engine.Options{Scenario: sc, Recorder: x.rec, Observers: x.watch}
	s := newTestSwarm(t)
	s.wrap = x.wrap
	var leads *lead.Lead
	var err error
	defer s.over()
	if x.stranger {
		own := s.token
		s.token = seal.GenerateToken()
		s.join("agent-0", agent.Options{Dial: h.Dial, Sampler: calm()})
		s.token = own
	}
	if x.agents > 0 {
		for i := range x.agents {
			a := agent.Options{Dial: h.Dial, Sampler: calm(), Driver: func(spec.DeviceTransport) link.Driver { return x.driver() }}
			if i < len(x.clocks) {
				a.Clock = x.clocks[i]
			}
			name := fmt.Sprintf("agent-%d", i+1)
			if x.sampler != nil {
				a.Sampler = x.sampler(name)
			}
			if x.whole != nil {
				a.Whole = func() (string, error) { return x.whole(name) }
			}
			a.Ran = func(_ string, over bool) {
				if over && x.ends {
					leads.Lose(name, "its process ended")
				}
			}
			s.join(name, a)
		}
		b := s.server.Connect()
		if x.ends {
			b.Delay(50*time.Millisecond, 50*time.Millisecond)
		}
		defer b.Close()
		l := x.lead
		l.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
		l.Bus, l.Run, l.Token, l.Agents, l.Parcel = b, "20261128-run", s.token, x.agents, p
		if leads, err = lead.New(l); err != nil {
			t.Fatal(err)
		}
		defer leads.Close()
		o.Agents = leads
		if x.during != nil {
			s.going.Go(func() { x.during(s, leads) })
		}
	}
	ctx := t.Context()
	if x.hard > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, x.hard)
		defer cancel()
	}
	return engine.New(engine.InMemory(engine.ReadBy(engine.Sampled(o, calm()), nil, x.driver()), h.Dial)).Run(ctx)
}

// figures are what a run says of its operations, for people who look why a test fails.
func figures(r *report.Run) (text string) {
	text = fmt.Sprintf("%s: %s; notes %q\n", r.Outcome, r.Reason, r.Notes)
	for i := range r.Totals.Series {
		x := &r.Totals.Series[i]
		text += fmt.Sprintf("  %s %s: scheduled %d, ok %d, dropped %v, unanswered %d, open %d, late %d\n",
			x.Operation, x.Group, x.Scheduled(), x.Count(metrics.OK), x.Dropped, x.Count(metrics.Unanswered), x.InFlight(), x.Late)
	}
	return text
}

// calmly is swarming without a storm: in one, the turn of a device that is away is taken by another of its agent.
func calmly() string {
	return strings.Replace(swarming, "storm: {drop: 30%, within: 2s}", "devices: 60%, report_rate: 7/s", 1)
}

// without are the lines that are not among others, as often as they are more.
func without(lines, others []string) (left []string) {
	n := make(map[string]int)
	for _, x := range others {
		n[x]++
	}
	for _, x := range lines {
		if n[x]--; n[x] < 0 {
			left = append(left, x)
		}
	}
	return left
}

// With the same seed four agents do what one process does: the same devices connect and say the same, to the last byte, and the accounts of
// both are the same, by stage.
func TestAgentsDoWhatOneProcessDoes(t *testing.T) {
	var books [2][]string
	var runs [2]*report.Run
	for i, agents := range []int{0, 4} {
		synctest.Test(t, func(t *testing.T) {
			x := &swarmed{text: calmly(), agents: agents}
			runs[i] = x.run(t)
			slices.Sort(x.books.lines)
			books[i] = x.books.lines
			if runs[i].Outcome != report.Passed {
				t.Errorf("with %d agents: %s", agents, figures(runs[i]))
			}
		})
	}
	if more, less := without(books[1], books[0]), without(books[0], books[1]); len(more)+len(less) > 0 {
		t.Errorf("four agents said beside what one process did:\n%s\nand did not say:\n%s", strings.Join(more, "\n"), strings.Join(less, "\n"))
	}
	if len(books[0]) < 1000 {
		t.Errorf("only %d lines", len(books[0]))
	}
	for i, stage := range runs[0].Stages {
		for _, want := range stage.Totals.Series {
			got := runs[1].Stages[i].Totals.Find(want.Operation, want.Group)
			if !want.Operation.OfDevices() {
				continue
			}
			if got == nil || got.Scheduled() != want.Scheduled() || got.Count(metrics.OK) != want.Count(metrics.OK) {
				t.Errorf("stage %s, %s %s: %+v; one process has %d of %d", stage.Name, want.Operation, want.Group, got, want.Count(metrics.OK), want.Scheduled())
			}
		}
	}
}

// The account of the whole is the sum of the agents' accounts.
func TestAccountIsTheSumOfAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: swarming, agents: 4}
		r := x.run(t)
		var sum, whole report.Account
		for _, a := range r.Agents {
			sum.Scheduled, sum.OK, sum.Dropped, sum.InFlight = sum.Scheduled+a.Totals.Scheduled, sum.OK+a.Totals.OK, sum.Dropped+a.Totals.Dropped, sum.InFlight+a.Totals.InFlight
			if a.Devices < 28 || a.Devices > 32 || a.Generator == nil || a.Lost != nil {
				t.Errorf("agent %+v", a)
			}
		}
		for i := range r.Totals.Series {
			if x := &r.Totals.Series[i]; x.Operation.OfDevices() && x.Operation != metrics.OpFreshness {
				whole.Scheduled, whole.OK = whole.Scheduled+x.Scheduled(), whole.OK+x.Count(metrics.OK)
				whole.Dropped, whole.InFlight = whole.Dropped+x.DroppedTotal(), whole.InFlight+x.InFlight()
			}
		}
		if sum != whole || r.Outcome != report.Passed || len(r.Agents) != 4 {
			t.Errorf("agents %+v, whole %+v; %s", sum, whole, figures(r))
		}
	})
}

// An agent that dies is noted, its devices are lost with it, and what it had measured stays; the run does with them what it was told, and never
// passes as if nothing had been.
func TestAgentDies(t *testing.T) {
	for _, tt := range []struct {
		choice  string
		outcome report.Outcome
		all     bool // are connected in the end
	}{{lead.Continue, report.Saturated, false}, {lead.Redistribute, report.Saturated, true}, {lead.Fail, report.Failed, false}} {
		t.Run(tt.choice, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connected := 0
				x := &swarmed{text: swarming, agents: 4, lead: lead.Options{OnLoss: tt.choice}}
				x.during = func(s *swarm, l *lead.Lead) {
					time.Sleep(25 * time.Second)
					s.stops["agent-2"]()
					time.Sleep(20 * time.Second)
					connected = l.Counts()[fleet.StateConnected]
				}
				r := x.run(t)
				if r.Outcome != tt.outcome || !strings.Contains(r.Reason, "agent-2") {
					t.Errorf("want %s: %s", tt.outcome, figures(r))
				}
				a := r.Agents[1]
				if a.Lost == nil || a.Lost.Choice != tt.choice || a.Totals.Scheduled == 0 || a.Totals.InFlight != 0 {
					t.Fatalf("agent-2: %+v, %+v, %+v", a, a.Lost, a.Totals)
				}
				if all := connected == 120; tt.choice != lead.Fail && all != tt.all || !tt.all && connected > 120-a.Lost.Devices {
					t.Errorf("%d connected in the end", connected)
				}
				for i := range r.Totals.Series {
					if x := &r.Totals.Series[i]; x.InFlight() != 0 {
						t.Errorf("%s %s: %d have no end", x.Operation, x.Group, x.InFlight())
					}
				}
			})
		})
	}
}

// An agent whose process ends because the run is over is not lost, though the coordinator hears of that before it hears of the agent's last numbers.
func TestAgentEndsAfterTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: calmly(), agents: 3, ends: true}
		r := x.run(t)
		for _, a := range r.Agents {
			if a.Lost != nil || a.Totals.InFlight != 0 {
				t.Errorf("agent %s: lost %+v, %+v", a.Name, a.Lost, a.Totals)
			}
		}
		if r.Outcome != report.Passed {
			t.Error(figures(r))
		}
	})
}

// An agent of others at the same NATS, which knows another token, is left alone: the run has its own agents.
func TestAgentsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := (&swarmed{text: calmly(), agents: 2, stranger: true}).run(t)
		if r.Outcome != report.Passed || len(r.Agents) != 2 || r.Agents[0].Name != "agent-1" {
			t.Error(figures(r))
		}
	})
}

// The bus stops for ten seconds, over the end of a stage: the run goes on, with all that was measured.
func TestBusStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &swarmed{text: calmly(), agents: 4}
		x.during = func(s *swarm, _ *lead.Lead) {
			time.Sleep(25 * time.Second)
			s.server.Stop(errors.New("the server was stopped"))
			time.Sleep(10 * time.Second)
			s.server.Start()
		}
		r := x.run(t)
		if r.Outcome != report.Passed || !strings.Contains(strings.Join(r.Notes, "\n"), "no connection to the agents for 10.0s") {
			t.Error(figures(r))
		}
		for _, a := range r.Agents {
			if a.Lost != nil {
				t.Errorf("agent %s was lost: %+v", a.Name, a.Lost)
			}
		}
	})
}

// Agents' clocks are wrong by seconds, and one runs fast: that is known, and changes nothing of when devices act and of how fresh results are.
func TestClocksAreWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		x := &swarmed{text: calmly(), agents: 3, clocks: []clock.Clock{
			clock.Shifted(time.Now, 7*time.Second, 0, start), clock.Shifted(time.Now, -3*time.Second, 50, start),
		}}
		r := x.run(t)
		if r.Outcome != report.Passed {
			t.Error(figures(r))
		}
		for i, want := range []time.Duration{7 * time.Second, -3 * time.Second, 0} {
			c := r.Agents[i].Clock
			if off := (c.Offset - want).Abs(); off > c.Uncertainty+5*time.Millisecond {
				t.Errorf("agent %d: offset %s ± %s; want %s", i+1, c.Offset, c.Uncertainty, want)
			}
		}
	})
}

// The coordinator is gone in the middle of a stage; the agents go on, into the next one too. Another takes the run over, with all that was
// measured: what devices did is what they do in a run that nobody disturbs. The run does not pass: nobody asked the queries meanwhile.
func TestTakeover(t *testing.T) {
	var undisturbed *report.Run
	synctest.Test(t, func(t *testing.T) { undisturbed = (&swarmed{text: calmly(), agents: 4}).run(t) })
	for _, tt := range []struct {
		name       string
		gone, back time.Duration // since the start
	}{
		{"within a stage", 15 * time.Second, 22 * time.Second},
		{"over the end of a stage", 25 * time.Second, 40 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := handed{text: calmly(), agents: 4, gone: []time.Duration{tt.gone}, back: []time.Duration{tt.back}}
				r := x.run(t)
				if r.Outcome != report.Saturated || !strings.Contains(r.Reason, "nobody led it") {
					t.Error(figures(r))
				}
				for _, want := range undisturbed.Totals.Series {
					if want.Operation.OfDevices() && want.Operation != metrics.OpFreshness {
						got := r.Totals.Find(want.Operation, want.Group)
						if got == nil || got.Scheduled() != want.Scheduled() || got.Count(metrics.OK) != want.Count(metrics.OK) || got.InFlight() != 0 {
							t.Errorf("%s %s: %s; undisturbed %d of %d", want.Operation, want.Group, figures(r), want.Count(metrics.OK), want.Scheduled())
						}
					}
				}
				if q := r.Totals.Find(metrics.OpQuery, "all"); q.Scheduled() < 5 || q.Scheduled() >= undisturbed.Totals.Find(metrics.OpQuery, "all").Scheduled() {
					t.Errorf("%d queries; those before it was taken over and after it, not those between", q.Scheduled())
				}
			})
		})
	}
}
