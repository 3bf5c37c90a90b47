package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// site is what runs on agents have in common, one after the other: the agents, the NATS server that they talk over, and a folder.
type site struct {
	env    env
	s      settings
	log    *slog.Logger
	agents int
	remote bool   // the agents were started by others
	folder string // removed in the end
	bus    *natsbus.Conn
	token  seal.Token
	closes []func()
	runs   int
	words  lastWords

	mu    sync.Mutex // protects the following fields
	lead  *lead.Lead // of the run under way; nil when there is none
	ended string     // an agent of this machine whose process has ended, and how; empty while all go on
}

// trialSwarm is what a run of a site has beside the run.
type trialSwarm struct {
	lead   *lead.Lead
	name   string             // of its store
	ended  <-chan launch.Exit // processes of the hub; nil for none
	closes []func()
}

func (s *trialSwarm) close() { closeAll(s.closes) }

// newSite starts what trials on agents need.
func newSite(ctx context.Context, e env, s settings, log *slog.Logger, agents int, remote bool) (_ *site, err error) {
	x := &site{env: e, s: s, log: log, agents: agents, remote: remote}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	if x.folder, err = os.MkdirTemp("", "twinfleet-agents-"); err != nil {
		return nil, fmt.Errorf("making a folder for the agents: %w", err)
	}
	x.closes = append(x.closes, func() { _ = os.RemoveAll(x.folder) })
	o := natsOptions(e, s, log)
	if x.remote {
		if x.token, err = joinToken(e); err != nil {
			return nil, err
		}
	} else {
		x.token = seal.GenerateToken()
		if o, err = x.start(ctx); err != nil {
			return nil, err
		}
	}
	if x.bus, err = busOf(ctx, s, o); err != nil {
		return nil, err
	}
	x.closes = append(x.closes, func() { _ = x.bus.Close() })
	return x, nil
}

func (x *site) close() {
	closeAll(x.closes)
	x.words.tell(x.env.stderr)
}

// runOptions are how one run differs from the others.
type runOptions struct {
	hubs          int               // processes of the embedded hub
	onLoss, alone string            // as lead.Options
	tell          func(text string) // is told how far the preparations are; nil tells nobody
}

// run starts what is a run's own, and gives the scenario as it runs there. Its swarm must be closed before the next one begins.
func (x *site) run(ctx context.Context, sc *scenario.Scenario, p *parcel.Parcel, o runOptions) (_ *scenario.Scenario, _ *trialSwarm, err error) {
	if err := x.leads(nil); err != nil { // before hubs are started
		return sc, nil, err
	}
	x.runs++
	w := &trialSwarm{} // closed by name: what is returned with an error is nil
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	id := time.Now().UTC().Format("20060102-150405") + "-" + sc.Name
	if x.runs > 1 { // within the same second
		id += "-" + strconv.Itoa(x.runs)
	}
	if sc.Target.Kind == spec.Embedded {
		folder, err := os.MkdirTemp(x.folder, "hubs-")
		if err != nil {
			return sc, nil, fmt.Errorf("making a folder for the embedded hub: %w", err)
		}
		if sc, err = w.hubs(ctx, sc, o.hubs, folder, filepath.Join(x.folder, "certs")); err != nil {
			return sc, nil, err
		}
	}
	if sc, err = settleAgents(sc, x.agents, x.remote); err != nil {
		return sc, nil, err
	}
	l, err := lead.New(lead.Options{
		Bus: x.bus, Run: id, Token: x.token, Agents: x.agents, Parcel: p, OnLoss: o.onLoss, Alone: o.alone,
		Override: []string{"fleet.client=" + sc.Fleet.Client},
		Wait:     x.s.v.GetDuration("agent-wait"), Logger: x.log, Tell: o.tell,
	})
	if err != nil {
		return sc, nil, err
	}
	w.lead, w.name = l, protocol.StoreName(id)
	if w.ended != nil {
		w.closes = append(w.closes, watchHubs(w.ended, l, &x.words))
	}
	w.closes = append(w.closes, func() {
		_ = x.leads(nil) // that nobody leads is said to who is next
		l.Close()
	})
	if err = x.leads(l); err != nil {
		return sc, nil, err
	}
	return sc, w, nil
}

// leads notes who is told of agents that are no more, nil for nobody. It fails when one is no more already: nobody tells of it again.
func (x *site) leads(l *lead.Lead) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.lead = l; x.ended != "" {
		return fmt.Errorf("%w: %s", lead.ErrAgents, x.ended)
	}
	return nil
}

// lost notes that the process of an agent of this machine has ended.
func (x *site) lost(exit launch.Exit) {
	x.words.take(exit)
	why := "its process ended: " + exit.Why()
	x.mu.Lock()
	l := x.lead
	x.ended = "agent " + exit.Name + ": " + why
	x.mu.Unlock()
	if l != nil {
		l.Lose(exit.Name, why)
	}
}

// hubs starts the embedded hub in so many processes of its own.
func (w *trialSwarm) hubs(ctx context.Context, sc *scenario.Scenario, n int, folder, certs string) (*scenario.Scenario, error) {
	commands, files := hubCommands(sc, n, folder, certs)
	g, err := startHubs(ctx, commands, false)
	if err != nil {
		return sc, err
	}
	w.ended = g.Ended()
	w.closes = append(w.closes, func() { stopGroup(g) })
	return atHubs(sc, files)
}

// start starts the agents on this machine, and the NATS server that they talk over.
func (x *site) start(ctx context.Context) (natsbus.Options, error) {
	secret := seal.GenerateToken().Reveal()
	server, err := embednats.Open(ctx, embednats.Options{Folder: filepath.Join(x.folder, "nats"), Token: secret, Logger: x.log})
	if err != nil {
		return natsbus.Options{}, err
	}
	x.closes = append(x.closes, func() { _ = server.Close() })
	o := natsbus.Options{URLs: []string{server.URL()}, Token: secret, Logger: x.log}
	commands := agentCommands(x.agents, o, x.folder, x.token, nil)
	g, err := startAgents(ctx, commands, false)
	if err != nil {
		return natsbus.Options{}, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for exit := range g.Ended() {
			x.lost(exit)
		}
	}()
	x.closes = append(x.closes, func() {
		stopGroup(g)
		<-gone
	})
	return o, nil
}
