package lead

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

func marshal(x any) ([]byte, error) {
	b, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("writing a message: %w", err)
	}
	return b, nil
}

// Prepare finds the agents, gives each its part of the fleet, and returns when all are ready.
func (l *Lead) Prepare(ctx context.Context, w engine.Work) (start time.Time, err error) {
	if err := Refuse(w.Scenario, l.o.OnLoss); err != nil {
		return start, fmt.Errorf("%w: %w", ErrAgents, err)
	}
	l.work = w
	if l.past != nil {
		return l.takeOver(ctx)
	}
	if l.store, err = l.o.Bus.Store(ctx, protocol.StoreName(l.o.Run), true); err != nil {
		return start, fmt.Errorf("opening the store of the run: %w", err)
	}
	if err := l.serve(); err != nil {
		return start, err
	}
	found, err := l.gather(ctx)
	if err != nil {
		return start, err
	}
	defer func() {
		if err != nil {
			l.free(found)
		}
	}()
	if err := l.offer(ctx, found); err != nil {
		return start, err
	}
	if err := l.assign(ctx, found); err != nil {
		return start, err
	}
	for _, a := range found {
		a.part, a.first = w.Recorder.Join(), l.cut.Count(a.name)
	}
	l.mu.Lock()
	l.agents = found
	l.mu.Unlock()
	if err := l.watch(); err != nil {
		return start, err
	}
	if err := l.note(ctx, found); err != nil {
		return start, err
	}
	start = time.Now().Add(l.o.Lead)
	return start, l.put(ctx, &protocol.Order{Kind: protocol.Start, At: start}, 0)
}

// note keeps what a coordinator must know that takes the run over.
func (l *Lead) note(ctx context.Context, found []*agent) error {
	first, err := marshal(l.cut)
	if err != nil {
		return err
	}
	run := protocol.Run{
		Version: protocol.Version, Started: l.work.Started, Scenario: checksum(l.work.Scenario), Marks: l.work.Run, Cut: first,
		Made: spans(l.work.Scenario.Devices(), l.work.Made),
	}
	for _, a := range found {
		run.Agents = append(run.Agents, protocol.Member{Name: a.name, Program: a.hello.Program, Machine: a.hello.Machine})
	}
	text, err := marshal(&run)
	if err == nil {
		_, err = l.store.Put(ctx, protocol.KeyRun, text)
	}
	if err != nil {
		return fmt.Errorf("keeping what the run is: %w", err)
	}
	return nil
}

// Refuse says what cannot be run by agents, with a choice of Options.OnLoss; nil when all can.
func Refuse(sc *scenario.Scenario, onLoss string) error {
	g := measured(sc)
	switch {
	case g == nil:
	case !sc.Target.Can().Topics:
		return fmt.Errorf("deliveries of group %s are read from the hub by one process; remove telemetry.deliveries, or run without agents", g.Name)
	case onLoss == Redistribute:
		return fmt.Errorf("deliveries of group %s are lost with the agent that sent them, and no other can take its devices over; use --on-agent-loss fail or "+
			"continue, or remove deliveries", g.Name)
	}
	return nil
}

// measured is the first group whose deliveries are measured; nil when there is none.
func measured(sc *scenario.Scenario) *scenario.Group {
	for i := range sc.Fleet.Groups {
		if g := &sc.Fleet.Groups[i]; g.Measured() {
			return g
		}
	}
	return nil
}

// lookEvery is how often it is looked who is there.
const lookEvery = 500 * time.Millisecond

// gather waits until so many agents are there as are wanted, and joins them.
func (l *Lead) gather(ctx context.Context) ([]*agent, error) {
	waiting, cancel := context.WithTimeout(ctx, l.o.Wait)
	defer cancel()
	joined, others := make(map[string]*agent), make(map[string]string)
	told := -1
	for {
		all, err := l.o.Bus.Services(waiting, protocol.AgentService)
		if errors.Is(err, bus.ErrForbidden) {
			return nil, fmt.Errorf("looking for agents: %w", err)
		}
		if err != nil && waiting.Err() == nil {
			l.log.Debug("agents cannot be listed", "error", err)
		}
		for _, x := range all {
			if joined[x.Instance] != nil || len(joined) == l.o.Agents {
				continue
			}
			a, why, err := l.join(waiting, x.Instance)
			switch {
			case errors.Is(err, seal.ErrProof): // of another team, perhaps: those of this run may still come
				if others[x.Instance] == "" {
					l.log.Warn("an agent does not know this run's join token, and is left alone", "agent", x.Instance)
				}
				others[x.Instance] = "it knows another join token"
			case err != nil:
				others[x.Instance] = err.Error()
			case why != "":
				others[x.Instance] = why
			default:
				joined[x.Instance] = a
				delete(others, x.Instance)
			}
		}
		if len(joined) == l.o.Agents {
			break
		}
		if err := l.endedEarly(); err != nil {
			return nil, err
		}
		if len(joined) != told {
			told = len(joined)
			l.o.Tell(fmt.Sprintf("waiting for agents: %d of %d%s", told, l.o.Agents, names(joined)))
		}
		if wait.For(waiting, lookEvery) != nil {
			if err := ctx.Err(); err != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("%w: %d of %d are there after %s%s%s", ErrAgents, len(joined), l.o.Agents, human.Duration(l.o.Wait), names(joined), reasons(others))
		}
	}
	var out []*agent
	for _, a := range joined {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *agent) int { return cmp.Compare(a.name, b.name) })
	l.o.Tell(fmt.Sprintf("agents: %s", strings.TrimPrefix(names(joined), ": ")))
	return out, nil
}

// endedEarly is why the run cannot begin: an agent ended before it was part of it, or what it was started with; nil when none did.
func (l *Lead) endedEarly() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loss != nil {
		return l.loss
	}
	for _, name := range slices.Sorted(maps.Keys(l.ended)) {
		return fmt.Errorf("%w: agent %s: %s", ErrAgents, name, l.ended[name])
	}
	return nil
}

// names are those of agents, after a colon.
func names(all map[string]*agent) string {
	var out []string
	for name := range all {
		out = append(out, name)
	}
	if slices.Sort(out); len(out) == 0 {
		return ""
	}
	return ": " + strings.Join(out, ", ")
}

// reasons are why others are not used.
func reasons(others map[string]string) (text string) {
	var keys []string
	for name := range others {
		keys = append(keys, name)
	}
	slices.Sort(keys)
	for _, name := range keys {
		text += "; " + name + " is not: " + others[name]
	}
	return text
}

// ask asks an agent, in JSON.
func (l *Lead) ask(ctx context.Context, agent, endpoint string, question, answer any) error {
	b, err := marshal(question)
	if err != nil {
		return err
	}
	if b, err = l.o.Bus.Ask(ctx, agent, endpoint, b); err != nil {
		return err
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("its answer cannot be read: %w", err)
	}
	return nil
}

// join joins an agent; why says that it is not to be had.
func (l *Lead) join(ctx context.Context, name string) (a *agent, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a = &agent{name: name, taken: make(map[int]uint64)}
	if err := l.ask(ctx, name, protocol.Hello, protocol.HelloAsk{Version: protocol.Version, Run: l.o.Run}, &a.hello); err != nil {
		return nil, "", err
	}
	if a.hello.Busy != "" && a.hello.Busy != l.o.Run {
		return nil, "it is part of run " + a.hello.Busy, nil
	}
	welcome, err := l.o.Token.Welcome(l.o.Run, a.hello.Join)
	if err != nil {
		return nil, "", err
	}
	var yes protocol.JoinAnswer
	if err := l.ask(ctx, name, protocol.Join, protocol.JoinAsk{Run: l.o.Run, Welcome: welcome}, &yes); err != nil {
		return nil, "", err
	}
	return a, "", l.o.Token.Admit(a.hello.Join, welcome, yes.Confirmation)
}

// each does something with all agents at once; the first error ends it.
func each(ctx context.Context, all []*agent, do func(context.Context, *agent) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, a := range all {
		g.Go(func() error {
			if err := do(ctx, a); err != nil {
				return agentError(a.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// load gives an agent something sealed to it.
func (l *Lead) load(ctx context.Context, a *agent, kind string, epoch int, secret []byte) error {
	chunks, err := l.o.Token.Seal(a.hello.Join.Key, seal.Binding{Run: l.o.Run, Agent: a.name, Epoch: epoch, Purpose: kind}, secret, 0)
	if err != nil {
		return err
	}
	for i, sealed := range chunks {
		if err := l.ask(ctx, a.name, protocol.Load, protocol.Chunk{Run: l.o.Run, Kind: kind, Epoch: epoch, Number: i, Count: len(chunks), Sealed: sealed}, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// offer asks each agent how much of the scenario it holds.
func (l *Lead) offer(ctx context.Context, all []*agent) error {
	b, err := l.o.Parcel.Encode()
	if err != nil {
		return err
	}
	defer clear(b)
	return each(ctx, all, func(ctx context.Context, a *agent) error {
		if err := l.load(ctx, a, protocol.KindScenario, 0, b); err != nil {
			return err
		}
		return l.ask(ctx, a.name, protocol.Offer, protocol.OfferAsk{Run: l.o.Run, Override: l.o.Override, Places: l.work.Places}, &a.offer)
	})
}

// assign cuts the fleet and gives each agent its part.
func (l *Lead) assign(ctx context.Context, all []*agent) error {
	var groups []cut.Group
	for i := range l.work.Scenario.Fleet.Groups {
		g := &l.work.Scenario.Fleet.Groups[i]
		groups = append(groups, cut.Group{Count: g.Count, Shared: g.Shared})
	}
	var sizes []cut.Agent
	for _, a := range all {
		sizes = append(sizes, cut.Agent{Name: a.name, Capacity: a.offer.Devices, Weight: a.offer.Weight})
	}
	whole, err := cut.New(groups, sizes)
	if err != nil {
		text := ""
		for _, a := range all {
			text += fmt.Sprintf("; %s holds %s: %s", a.name, human.Number(a.offer.Devices, "device"), a.offer.Limit)
		}
		return fmt.Errorf("%w: %w%s", ErrAgents, err, text)
	}
	l.cut = whole
	text, err := marshal(whole)
	if err != nil {
		return err
	}
	var follow []int
	for i := range l.work.Scenario.Devices() {
		if l.work.Follows(i) {
			follow = append(follow, i)
		}
	}
	return each(ctx, all, func(ctx context.Context, a *agent) error {
		if err := l.prove(ctx, a, whole, -1); err != nil {
			return err
		}
		l.o.Tell(fmt.Sprintf("agent %s: %s", a.name, human.Number(whole.Count(a.name), "device")))
		return l.ask(ctx, a.name, protocol.Assign, protocol.AssignAsk{
			Run: l.o.Run, Marks: l.work.Run, Cut: text, Follow: follow, Every: statusEvery, OnLoss: l.o.Alone, Patient: l.o.Patient,
		}, &struct{}{})
	})
}

// statusEvery is how often agents say how they stand.
const statusEvery = 100 * time.Millisecond

// prove gives an agent what the devices prove themselves with that are its own since an epoch.
func (l *Lead) prove(ctx context.Context, a *agent, c *cut.Cut, since int) error {
	gained := slices.Collect(c.Gained(a.name, since))
	if len(gained) == 0 && since >= 0 { // who takes nothing over opens nothing
		return nil
	}
	secret, err := l.work.Prove(gained)
	if err != nil {
		return err
	}
	defer clear(secret)
	return l.load(ctx, a, protocol.KindIdentities, c.Epoch(), secret)
}

// free tells agents that there is no run after all.
func (l *Lead) free(all []*agent) {
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Second)
	defer cancel()
	_ = each(ctx, all, func(ctx context.Context, a *agent) error {
		err := l.ask(ctx, a.name, protocol.Free, protocol.FreeAsk{Run: l.o.Run}, &struct{}{})
		if err != nil && !errors.Is(err, bus.ErrNobody) {
			l.log.Debug("an agent was not told that there is no run", "agent", a.name, "error", err)
		}
		return nil
	})
}
