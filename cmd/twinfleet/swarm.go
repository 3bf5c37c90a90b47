package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// addAgentFlags are those of one run on many machines.
func addAgentFlags(c *cobra.Command) {
	addCrewFlags(c)
	f := c.Flags()
	f.String("on-agent-loss", lead.Fail, "what to do when an agent is lost: fail, continue without its devices, or redistribute them")
	f.String("on-coordinator-loss", "finish", "what agents do when this process is gone: finish the scenario, or stop")
}

// addCrewFlags are who runs the devices of one run, or of many.
func addCrewFlags(c *cobra.Command) {
	addNATSFlags(c)
	f := c.Flags()
	f.Int("agents", 0, "run the devices in so many agents: processes of this machine, or with --nats those that wait there; 0 runs them in this process")
	f.Duration("agent-wait", time.Minute, "how long to wait for the agents")
	f.Int("hubs", 0, "with --agents and the embedded hub: in how many processes the hub runs, which share the devices; as many as the devices need when 0")
}

// hubHolds is how many devices one hub process is given: it may open 20,000 files where the usual limit cannot be raised.
const hubHolds = 15_000

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

	mu    sync.Mutex // protects the following fields
	lead  *lead.Lead // of the run under way; nil when there is none
	ended string     // an agent of this machine whose process has ended, and how; empty while all go on
}

// swarm is what a run on agents has beside the run.
type swarm struct {
	lead   *lead.Lead
	name   string // of its store
	closes []func()
}

func (s *swarm) close() { closeAll(s.closes) }

// closeAll closes what was opened, the last first.
func closeAll(closes []func()) {
	for i := len(closes) - 1; i >= 0; i-- {
		closes[i]()
	}
}

// newSwarm starts what a run on agents needs, and gives the scenario as it runs there. It is nil for a run in this process.
func newSwarm(ctx context.Context, e env, s settings, sc *scenario.Scenario, p *parcel.Parcel, log *slog.Logger) (*scenario.Scenario, *swarm, error) {
	for flag, choices := range map[string][]string{"on-agent-loss": {lead.Fail, lead.Continue, lead.Redistribute}, "on-coordinator-loss": {"finish", "stop"}} {
		if x := s.v.GetString(flag); !contains(choices, x) {
			return sc, nil, usagef("--%s: %q is none of %s", flag, x, strings.Join(choices, ", "))
		}
	}
	x, err := newSite(ctx, e, s, true, log)
	if err != nil || x == nil {
		return sc, nil, err
	}
	out, w, err := x.run(ctx, sc, p, runOptions{
		hubs: hubsFor(s, sc), onLoss: s.v.GetString("on-agent-loss"), alone: s.v.GetString("on-coordinator-loss"), tell: func(text string) { fmt.Fprintln(e.stderr, text) },
	})
	if err != nil {
		x.close()
		return sc, nil, err
	}
	w.closes = append([]func(){x.close}, w.closes...)
	return out, w, nil
}

// newSite starts what runs on agents need; nil when the devices run in this process. once has agents of this machine end after one run.
func newSite(ctx context.Context, e env, s settings, once bool, log *slog.Logger) (_ *site, err error) {
	x := &site{env: e, s: s, log: log, agents: s.v.GetInt("agents"), remote: len(s.v.GetStringSlice("nats")) > 0}
	switch {
	case x.agents < 0 || x.agents > 1000:
		return nil, usagef("--agents: %d is not from 0 to 1,000", x.agents)
	case x.agents == 0 && x.remote:
		return nil, usagef("--nats: how many agents are waited for? --agents N")
	case x.agents == 0:
		return nil, nil
	}
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
		if o, err = x.start(ctx, once); err != nil {
			return nil, err
		}
	}
	if x.bus, err = natsbus.Connect(ctx, o); err != nil {
		return nil, fmt.Errorf("--nats: %w", err)
	}
	x.closes = append(x.closes, func() { _ = x.bus.Close() })
	return x, nil
}

func (x *site) close() { closeAll(x.closes) }

// runOptions are how one run differs from the others.
type runOptions struct {
	hubs          int               // processes of the embedded hub
	onLoss, alone string            // as lead.Options
	tell          func(text string) // is told how far the preparations are; nil tells nobody
}

// run starts what is a run's own, and gives the scenario as it runs there. Its swarm must be closed before the next one begins.
func (x *site) run(ctx context.Context, sc *scenario.Scenario, p *parcel.Parcel, o runOptions) (_ *scenario.Scenario, w *swarm, err error) {
	x.mu.Lock()
	ended := x.ended
	x.mu.Unlock()
	if ended != "" {
		return sc, nil, fmt.Errorf("%w: %s", lead.ErrAgents, ended)
	}
	x.runs++
	w = &swarm{}
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
	l, err := lead.New(lead.Options{
		Bus: x.bus, Run: id, Token: x.token, Agents: x.agents, Parcel: p, OnLoss: o.onLoss, Alone: o.alone,
		Override: []string{"fleet.client=" + sc.Fleet.Client},
		Wait:     x.s.v.GetDuration("agent-wait"), Logger: x.log, Tell: o.tell,
	})
	if err != nil {
		return sc, nil, err
	}
	w.lead, w.name = l, protocol.StoreName(id)
	x.leads(l)
	w.closes = append(w.closes, func() {
		x.leads(nil)
		l.Close()
	})
	return sc, w, nil
}

// leads notes who is told of agents that are no more.
func (x *site) leads(l *lead.Lead) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lead = l
}

// lost notes that the process of an agent of this machine has ended.
func (x *site) lost(exit launch.Exit) {
	x.mu.Lock()
	l := x.lead
	x.ended = "agent " + exit.Name + ": its process ended: " + exit.String()
	x.mu.Unlock()
	if l != nil {
		l.Lose(exit.Name, "its process ended: "+exit.String())
	}
}

// forget removes what is kept of a run that is over and that nobody takes over: a NATS server has room for few of them.
func (x *site) forget(w *swarm) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := x.bus.Drop(ctx, w.name); err != nil {
		x.log.Debug("what NATS keeps of a run is not removed", "error", err)
	}
}

func contains(all []string, x string) bool {
	for _, y := range all {
		if x == y {
			return true
		}
	}
	return false
}

// hubsFor is in how many processes the embedded hub runs for a scenario.
func hubsFor(s settings, sc *scenario.Scenario) int {
	if n := s.v.GetInt("hubs"); n > 0 {
		return n
	}
	return max(1, (sc.Connections(sc.Devices())+hubHolds-1)/hubHolds)
}

// hubs starts the embedded hub in so many processes of its own.
func (w *swarm) hubs(ctx context.Context, sc *scenario.Scenario, n int, folder, certs string) (*scenario.Scenario, error) {
	t := &sc.Target
	var commands []launch.Command
	var files []string
	for i := range n {
		file := filepath.Join(folder, fmt.Sprintf("hub-%d", i+1))
		args := []string{"hub", "--listen", "127.0.0.1:0", "--json", "--page=false", "--connection-string-file", file, "--cert-dir", certs}
		if t.Tier != "" {
			args = append(args, "--tier", t.Tier, "--units", strconv.Itoa(t.Units))
			if t.Burst > 0 {
				args = append(args, "--burst", t.Burst.String())
			}
		}
		if t.QueryLag != "" {
			args = append(args, "--query-lag", t.QueryLag, "--seed", strconv.FormatUint(sc.Seed, 10))
		}
		files = append(files, file)
		commands = append(commands, launch.Command{Name: fmt.Sprintf("hub-%d", i+1), Args: args, Output: filepath.Join(folder, fmt.Sprintf("hub-%d.log", i+1))})
	}
	g, err := launch.Start(ctx, commands, launch.Options{Survive: true})
	if err != nil {
		return sc, fmt.Errorf("starting the embedded hub: %w", err)
	}
	w.closes = append(w.closes, func() { stopGroup(g) })
	var hubs []connstring.Service
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return sc, fmt.Errorf("starting the embedded hub: %w", err)
		}
		c, err := connstring.ParseService(strings.TrimSpace(string(text)))
		if err != nil {
			return sc, fmt.Errorf("starting the embedded hub: %w", err)
		}
		hubs = append(hubs, c)
	}
	out, err := target.Elsewhere(sc, hubs)
	if err != nil {
		return sc, usagef("--agents: %w", err)
	}
	return out, nil
}

// start starts the agents on this machine, and the NATS server that they talk over.
func (x *site) start(ctx context.Context, once bool) (natsbus.Options, error) {
	secret := seal.GenerateToken().Reveal()
	server, err := embednats.Open(ctx, embednats.Options{Folder: filepath.Join(x.folder, "nats"), Token: secret, Logger: x.log})
	if err != nil {
		return natsbus.Options{}, err
	}
	x.closes = append(x.closes, func() { _ = server.Close() })
	var commands []launch.Command
	for i := range x.agents {
		name := fmt.Sprintf("agent-%d", i+1)
		args := []string{"agent", "--nats", server.URL(), "--name", name, "--beside", strconv.Itoa(x.agents)}
		if once {
			args = append(args, "--once")
		}
		commands = append(commands, launch.Command{
			Name: name, Args: args, Output: filepath.Join(x.folder, name+".log"),
			Secrets: map[string]launch.Secret{joinTokenVariable: launch.Secret(x.token.Reveal()), natsTokenVariable: launch.Secret(secret)},
		})
	}
	g, err := launch.Start(ctx, commands, launch.Options{Survive: true})
	if err != nil {
		return natsbus.Options{}, fmt.Errorf("starting the agents: %w", err)
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
	return natsbus.Options{URLs: []string{server.URL()}, Token: secret, Logger: x.log}, nil
}

// stopGroup ends processes.
func stopGroup(g *launch.Group) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = g.Stop(ctx)
}

// packed reads a scenario so that it can travel.
func packed(e env, file string, s settings) (*scenario.Scenario, *parcel.Parcel, error) {
	text, err := scenarioText(file, e.stdin)
	if err != nil {
		return nil, nil, withCode(codeUsage, err)
	}
	if file == standardInput {
		file = "stdin"
	}
	sc, p, err := parcel.Pack(file, text, s.scenarioOptions())
	switch {
	case errors.Is(err, parcel.ErrTooLarge):
		return nil, nil, usagef("--agents: %w", err)
	case err != nil:
		return nil, nil, inScenario(err)
	}
	tellWarnings(e, sc)
	return sc, p, nil
}
