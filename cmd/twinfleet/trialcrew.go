package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// loader reads a scenario as often as trials need it.
type loader struct {
	env  env
	file string
	text []byte
	own  []string // keys that are set for all trials
	once sync.Once

	mu   sync.Mutex                      // protects the following field
	sets map[*scenario.Scenario][]string // what pack needs of the scenarios that were loaded; nil where none travels
}

// load reads the scenario with further keys set.
func (l *loader) load(set []string) (*scenario.Scenario, error) {
	all := append(l.own[:len(l.own):len(l.own)], set...)
	sc, err := scenario.Decode(l.file, l.text, scenario.Options{Set: all})
	if err != nil {
		return nil, inScenario(err)
	}
	l.once.Do(func() { sayTrust(l.env, sc) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sets != nil {
		l.sets[sc] = all
	}
	return sc, nil
}

// pack makes a scenario that was loaded travel.
func (l *loader) pack(sc *scenario.Scenario) (*parcel.Parcel, error) {
	l.mu.Lock()
	set, known := l.sets[sc]
	clear(l.sets) // of the others nobody asks
	l.mu.Unlock()
	if !known {
		return nil, errors.New("the scenario of a trial cannot travel: it was not read here")
	}
	_, p, err := parcel.Pack(l.file, l.text, scenario.Options{Set: set})
	return p, err
}

// trialCrew is who runs the devices of trials: this process, or agents.
type trialCrew struct {
	site  *site // nil without agents
	load  *loader
	hubs  int // processes of the embedded hub, in every trial
	facts host.Facts
	// handOver is as env.starting has it; nil without agents.
	handOver func() bool
}

// newCrew starts the agents of trials, if there are to be any; close ends them.
func (x *trialing) newCrew(ctx context.Context, l *loader) error {
	x.crew = trialCrew{load: l}
	n, remote, err := agentsAsked(x.s)
	if err != nil || n == 0 {
		return err
	}
	l.sets = make(map[*scenario.Scenario][]string)
	sc, err := l.load(nil)
	if err != nil {
		return err
	}
	if sc.Target.Kind == spec.Embedded {
		if sc.Target.Tier != "" && x.s.v.GetInt("hubs") > 1 {
			return usagef("--hubs: the limits of tier %s are those of one hub; what several of them hold is no answer", sc.Target.Tier)
		}
		// All devices, whatever its stages say: trials have loads of their own.
		if x.crew.hubs, err = hubProcesses(sc, sc.Devices(), x.s.v.GetInt("hubs")); err != nil {
			return err
		}
		if _, err := target.Elsewhere(sc, made(x.crew.hubs)); err != nil {
			return usagef("--agents: %w", err)
		}
	}
	if x.crew.facts, err = host.Read(); err != nil {
		return fmt.Errorf("reading what this machine allows: %w", err)
	}
	starting, handOver := x.e.starting(ctx, x.log)
	x.crew.handOver = handOver
	if x.crew.site, err = newSite(starting, x.e, x.s, x.log, n, remote); err != nil && handOver() {
		err = errStarting
	}
	return err
}

// interrupted ends the watching of signals that newCrew began, and reports whether there was one.
func (c *trialCrew) interrupted() bool { return c.handOver != nil && c.handOver() }

func (c *trialCrew) close() {
	c.interrupted()
	if c.site != nil {
		c.site.close()
	}
}

// told is the crew as a search knows it.
func (c *trialCrew) told() agents.Crew {
	if c.site == nil {
		return agents.Crew{}
	}
	return agents.Crew{Agents: c.site.agents, Elsewhere: c.site.remote}
}

// notes are what an answer says of it.
func (c *trialCrew) notes() []string {
	if c.site == nil {
		return nil
	}
	where := "on this machine"
	if c.site.remote {
		where = "that were started elsewhere"
	}
	all := []string{fmt.Sprintf("the devices run in %s %s, the same in all trials", human.Number(c.site.agents, "agent"), where)}
	switch {
	case c.hubs == 1:
		all = append(all, "the embedded hub is a process of its own on this machine, made anew for each trial")
	case c.hubs > 1:
		all = append(all, fmt.Sprintf("the embedded hub is %d processes on this machine, made anew for each trial, which share the devices: what holds is of all of them together", c.hubs))
	}
	return all
}

// check says whether agents can make a trial, as far as that is not for them to say: whether the hubs can have its devices.
func (c *trialCrew) check(sc *scenario.Scenario) error {
	if c.hubs == 0 {
		return nil
	}
	if err := roomInHubs(sc, c.hubs, c.facts); err != nil {
		return fmt.Errorf("%w: %w", trial.ErrTarget, err)
	}
	return nil
}

// engine makes the engine of a trial whose devices run in agents.
func (c *trialCrew) engine(ctx context.Context, o engine.Options, tell func(string)) (ready readied, _ engine.Options) {
	p, err := c.load.pack(o.Scenario)
	if err != nil {
		ready.why = err
		return ready, o
	}
	sc, w, err := c.site.run(ctx, o.Scenario, p, runOptions{hubs: c.hubs, alone: "stop", tell: tell})
	if err != nil {
		ready.why = err
		return ready, o
	}
	ready.Agents = w.lead
	ready.close = func() {
		w.close()
		forget(c.site.bus, w.name, c.site.log)
	}
	o.Scenario = sc
	return ready, o
}

// readied are the agents of a trial, and why they were not ready for it.
type readied struct {
	engine.Agents
	why   error
	close func() // nil when nothing was opened
}

// Prepare notes why the agents are not ready.
func (r *readied) Prepare(ctx context.Context, w engine.Work) (start time.Time, err error) {
	start, r.why = r.Agents.Prepare(ctx, w)
	return start, r.why
}

// unmade is why agents could not make the load; final says that they were there, and hold too few devices.
func (r *readied) unmade() (why error, final bool) {
	var small *cut.TooSmall
	return r.why, errors.As(r.why, &small)
}

// broken is the engine of a trial that cannot be made.
type broken struct{ ready *readied }

func (b broken) Run(ctx context.Context) *report.Run {
	outcome := report.Failed
	if ctx.Err() != nil {
		outcome = report.Interrupted
	}
	return &report.Run{Outcome: outcome, Reason: b.ready.why.Error()}
}

func (b broken) Leave(string) {}

func (b broken) Unmade() (why error, final bool) { return b.ready.unmade() }
