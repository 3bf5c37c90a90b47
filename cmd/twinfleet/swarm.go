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
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/report/raw"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// addAgentFlags are those of a run on many machines.
func addAgentFlags(c *cobra.Command) {
	addNATSFlags(c)
	f := c.Flags()
	f.Int("agents", 0, "run the devices in so many agents: processes of this machine, or with --nats those that wait there; 0 runs them in this process")
	f.String("on-agent-loss", lead.Fail, "what to do when an agent is lost: fail, continue without its devices, or redistribute them")
	f.String("on-coordinator-loss", "finish", "what agents do when this process is gone: finish the scenario, or stop")
	f.Duration("agent-wait", time.Minute, "how long to wait for the agents")
	f.Int("hubs", 0, "with --agents and the embedded hub: in how many processes the hub runs, which share the devices; as many as the devices need when 0")
}

// hubHolds is how many devices one hub process is given: it may open 20,000 files where the usual limit cannot be raised.
const hubHolds = 15_000

// swarm is what a run on agents has beside the run.
type swarm struct {
	lead   *lead.Lead
	closes []func()
}

func (s *swarm) close() {
	for i := len(s.closes) - 1; i >= 0; i-- {
		s.closes[i]()
	}
}

// newSwarm starts what a run on agents needs, and gives the scenario as it runs there. It is nil for a run in this process.
func newSwarm(ctx context.Context, e env, s settings, sc *scenario.Scenario, p *parcel.Parcel, log *slog.Logger) (_ *scenario.Scenario, w *swarm, err error) {
	n := s.v.GetInt("agents")
	remote := len(s.v.GetStringSlice("nats")) > 0
	switch {
	case n < 0 || n > 1000:
		return sc, nil, usagef("--agents: %d is not from 0 to 1,000", n)
	case n == 0 && remote:
		return sc, nil, usagef("--nats: how many agents are waited for? --agents N")
	case n == 0:
		return sc, nil, nil
	}
	for flag, choices := range map[string][]string{"on-agent-loss": {lead.Fail, lead.Continue, lead.Redistribute}, "on-coordinator-loss": {"finish", "stop"}} {
		if x := s.v.GetString(flag); !contains(choices, x) {
			return sc, nil, usagef("--%s: %q is none of %s", flag, x, strings.Join(choices, ", "))
		}
	}
	w = &swarm{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	id := time.Now().UTC().Format("20060102-150405") + "-" + sc.Name
	folder, err := os.MkdirTemp("", "twinfleet-agents-")
	if err != nil {
		return sc, nil, fmt.Errorf("making a folder for the agents: %w", err)
	}
	w.closes = append(w.closes, func() { _ = os.RemoveAll(folder) })
	if sc.Target.Kind == spec.Embedded {
		if sc, err = w.hubs(ctx, s, sc, folder); err != nil {
			return sc, nil, err
		}
	}
	o := natsOptions(e, s, log)
	var token seal.Token
	if remote {
		if token, err = joinToken(e); err != nil {
			return sc, nil, err
		}
	} else {
		token = seal.GenerateToken()
		if o, err = w.agents(ctx, s, n, folder, token, log); err != nil {
			return sc, nil, err
		}
	}
	b, err := natsbus.Connect(ctx, o)
	if err != nil {
		return sc, nil, fmt.Errorf("--nats: %w", err)
	}
	w.closes = append(w.closes, func() { _ = b.Close() })
	l, err := lead.New(lead.Options{
		Bus: b, Run: id, Token: token, Agents: n, Parcel: p, OnLoss: s.v.GetString("on-agent-loss"), Alone: s.v.GetString("on-coordinator-loss"),
		Override: []string{"fleet.client=" + sc.Fleet.Client},
		Wait:     s.v.GetDuration("agent-wait"), Logger: log, Tell: func(text string) { fmt.Fprintln(e.stderr, text) },
	})
	if err != nil {
		return sc, nil, err
	}
	w.lead = l
	w.closes = append(w.closes, l.Close)
	return sc, w, nil
}

func contains(all []string, x string) bool {
	for _, y := range all {
		if x == y {
			return true
		}
	}
	return false
}

// hubs starts the embedded hub in processes of its own.
func (w *swarm) hubs(ctx context.Context, s settings, sc *scenario.Scenario, folder string) (*scenario.Scenario, error) {
	n := s.v.GetInt("hubs")
	if n == 0 {
		n = (sc.Connections(sc.Devices()) + hubHolds - 1) / hubHolds
	}
	n = max(1, n)
	t := &sc.Target
	var commands []launch.Command
	var files []string
	for i := range n {
		file := filepath.Join(folder, fmt.Sprintf("hub-%d", i+1))
		args := []string{"hub", "--listen", "127.0.0.1:0", "--json", "--page=false", "--connection-string-file", file, "--cert-dir", filepath.Join(folder, "certs")}
		if t.Tier != "" {
			args = append(args, "--tier", t.Tier, "--units", strconv.Itoa(t.Units))
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

// localAgent is the name of an agent of this machine, by its number from 0.
func localAgent(i int) string { return fmt.Sprintf("agent-%d", i+1) }

// agents starts agents on this machine, and the NATS server that they talk over.
func (w *swarm) agents(ctx context.Context, s settings, n int, folder string, token seal.Token, log *slog.Logger) (natsbus.Options, error) {
	secret := seal.GenerateToken().Reveal()
	server, err := embednats.Open(ctx, embednats.Options{Folder: filepath.Join(folder, "nats"), Token: secret, Logger: log})
	if err != nil {
		return natsbus.Options{}, err
	}
	w.closes = append(w.closes, func() { _ = server.Close() })
	var commands []launch.Command
	for i := range n {
		name := localAgent(i)
		args := []string{"agent", "--nats", server.URL(), "--name", name, "--beside", strconv.Itoa(n), "--once"}
		if file := s.v.GetString("raw"); file != "" {
			args = append(args, "--raw", raw.Beside(file, name))
		}
		commands = append(commands, launch.Command{
			Name: name, Args: args,
			Secrets: map[string]launch.Secret{joinTokenVariable: launch.Secret(token.Reveal()), natsTokenVariable: launch.Secret(secret)},
			Output:  filepath.Join(folder, name+".log"),
		})
	}
	g, err := launch.Start(ctx, commands, launch.Options{Survive: true})
	if err != nil {
		return natsbus.Options{}, fmt.Errorf("starting the agents: %w", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for x := range g.Ended() {
			if w.lead != nil {
				w.lead.Lose(x.Name, "its process ended: "+x.String())
			}
		}
	}()
	w.closes = append(w.closes, func() {
		stopGroup(g)
		<-gone
	})
	return natsbus.Options{URLs: []string{server.URL()}, Token: secret, Logger: log}, nil
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
