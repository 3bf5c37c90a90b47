package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/hub/wholefile"
	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
	"github.com/twinfleet/twinfleet/internal/swarm/parcel"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/raw"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// addAgentFlags are those of one run on many machines.
func addAgentFlags(c *cobra.Command) {
	addTrialFlags(c)
	f := c.Flags()
	f.String("on-agent-loss", lead.Fail, "what to do when an agent is lost: fail, continue without its devices, or redistribute them")
	f.String("on-coordinator-loss", "finish", "what agents do when this process is gone: finish the scenario, or stop")
	f.String("resume", "", "take over the run of this id, whose process is gone: its agents go on; SCENARIO must be the same")
}

// addTrialFlags are who runs the devices of one run, or of many.
func addTrialFlags(c *cobra.Command) {
	addNATSFlags(c)
	f := c.Flags()
	f.Int("agents", 0, "run the devices in so many agents: processes of this machine, or with --nats those that wait there; 0 runs them in this process")
	f.Duration("agent-wait", time.Minute, "how long to wait for the agents")
	f.Int("hubs", 0, "with --agents and the embedded hub: in how many processes the hub runs, which share the devices; as many as the devices need when 0")
}

// mostAgents bounds the agents of a run, and its hubs.
const mostAgents = 1000

// swarm is what a run on agents has beside the run.
type swarm struct {
	lead   *lead.Lead
	resume *engine.Resume // of a run that is taken over; else nil
	local  localState
	closes []func()
}

// localState is what a process must know of a run on this machine that it takes over. It holds secrets: its file is for its owner alone.
type localState struct {
	Port      int            `json:"port"`       // of the NATS server
	NATS      string         `json:"nats_token"` // of the server
	Join      string         `json:"join_token"`
	Hubs      []string       `json:"hubs,omitempty"` // files with their connection strings
	Client    string         `json:"client"`         // that drives the devices: what this machine has free now is not what it had
	Processes map[string]int `json:"processes"`      // ids, by name
}

const localStateFile = "local.json"

// keep writes the state down.
func (x *localState) keep(folder string) error {
	b, err := json.Marshal(x)
	if err == nil {
		err = wholefile.Replace(filepath.Join(folder, localStateFile), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping what is needed to take the run over: %w", err)
	}
	return nil
}

func (s *swarm) close() { closeAll(s.closes) }

// newSwarm starts what a run on agents needs, and gives the scenario as it runs there. It is nil for a run in this process.
func newSwarm(ctx context.Context, e env, s settings, sc *scenario.Scenario, p *parcel.Parcel, log *slog.Logger) (_ *scenario.Scenario, w *swarm, err error) {
	n := s.v.GetInt("agents")
	remote := len(s.v.GetStringSlice("nats")) > 0
	switch {
	case n < 0 || n > mostAgents:
		return sc, nil, usagef("--agents: %d is not from 0 to %s", n, human.Count(mostAgents))
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
	id, again := s.v.GetString("resume"), s.v.GetString("resume") != ""
	if !again {
		id = time.Now().UTC().Format("20060102-150405") + "-" + sc.Name
	}
	folder := filepath.Join(s.v.GetString("out"), ".agents", id)
	if s.v.GetString("out") == "" {
		folder = filepath.Join(os.TempDir(), "twinfleet-agents", id)
	}
	if again && !remote {
		b, err := os.ReadFile(filepath.Join(folder, localStateFile))
		if err == nil {
			err = json.Unmarshal(b, &w.local)
		}
		if err != nil {
			return sc, nil, usagef("--resume: %s: no run of this machine can be taken over there: %w", id, err)
		}
	} else if err := os.MkdirAll(folder, 0o700); err != nil {
		return sc, nil, fmt.Errorf("making a folder for the agents: %w", err)
	}
	w.closes = append(w.closes, func() {
		_ = os.RemoveAll(folder)
		_ = os.Remove(filepath.Dir(folder)) // unless there are others
	})
	if sc.Target.Kind == spec.Embedded {
		if again {
			sc, err = w.hubsAgain(sc)
		} else {
			sc, err = w.hubs(ctx, s, sc, folder)
		}
		if err != nil {
			return sc, nil, err
		}
	}
	if again && !remote && sc.Fleet.Client == scenario.AnyClient {
		own := *sc
		own.Fleet.Client, sc = w.local.Client, &own
	} else if sc, err = settleAgents(sc, n, remote); err != nil {
		return sc, nil, err
	}
	w.local.Client = sc.Fleet.Client
	o := natsOptions(e, s, log)
	var token seal.Token
	if remote {
		if token, err = joinToken(e); err != nil {
			return sc, nil, err
		}
	} else {
		if again {
			token, err = seal.NewToken(w.local.Join)
		} else {
			token = seal.GenerateToken()
		}
		if err == nil {
			o, err = w.agents(ctx, s, n, folder, token, again, log)
		}
		if err != nil {
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
	if again {
		if w.resume, err = l.Takeover(ctx, sc); err != nil {
			w.closes = w.closes[1:] // what is there may still be taken over
			return sc, nil, withCode(codeUsage, err)
		}
		fmt.Fprintf(e.stderr, "takes over run %s\n", id)
	} else {
		fmt.Fprintf(e.stderr, "run %s; if this process is lost: twinfleet run --resume %s with the same scenario and flags\n", id, id)
	}
	return sc, w, nil
}

// settleAgents settles what a scenario leaves to the machines of its agents and all of them must have alike: its client. What machines elsewhere
// carry only they know, so that they get the client with which they say how many devices they hold.
func settleAgents(sc *scenario.Scenario, agents int, remote bool) (*scenario.Scenario, error) {
	if remote {
		out := *sc
		if out.Fleet.Client == scenario.AnyClient {
			out.Fleet.Client = "lean"
			out.Fitted = append(slices.Clone(sc.Fitted), "devices are driven by the client lean, as agents elsewhere hold the most with it; fleet.client: paho insists on it")
		}
		return &out, nil
	}
	facts, err := host.Read()
	if err != nil {
		return sc, fmt.Errorf("reading what this machine allows: %w", err)
	}
	return fit.ToPart(sc, facts, (sc.Devices()+agents-1)/agents, agents), nil
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
	n, err := hubProcesses(sc, s.v.GetInt("hubs"))
	if err != nil {
		return sc, err
	}
	facts, err := host.Read()
	if err != nil {
		return sc, fmt.Errorf("reading what this machine allows: %w", err)
	}
	if err := roomInHubs(sc, n, facts.Descriptors); err != nil {
		return sc, withCode(codeUsage, err)
	}
	commands, files := hubCommands(sc, n, folder, filepath.Join(folder, "certs"))
	g, err := launch.Start(ctx, commands, launch.Options{Survive: true})
	if err != nil {
		return sc, fmt.Errorf("starting the embedded hub: %w", err)
	}
	w.closes = append(w.closes, func() { stopGroup(g) })
	w.local.Hubs = files
	w.note(g, commands)
	return atHubs(sc, w.local.Hubs)
}

// note keeps the ids of processes.
func (w *swarm) note(g *launch.Group, commands []launch.Command) {
	if w.local.Processes == nil {
		w.local.Processes = make(map[string]int)
	}
	for _, c := range commands {
		w.local.Processes[c.Name] = g.PID(c.Name)
	}
}

// hubsAgain are the hubs of a run that is taken over, which end with it.
func (w *swarm) hubsAgain(sc *scenario.Scenario) (*scenario.Scenario, error) {
	w.closes = append(w.closes, func() {
		for name, pid := range w.local.Processes {
			if p, err := os.FindProcess(pid); err == nil && isOurs(pid) && strings.HasPrefix(name, "hub-") {
				_ = p.Signal(os.Interrupt)
			}
		}
	})
	return atHubs(sc, w.local.Hubs)
}

// isOurs reports whether a process is one of this program, as far as the system tells: ids are used again.
func isOurs(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || strings.Contains(string(b), "--connection-string-file")
}

// agents starts agents on this machine, and the NATS server that they talk over.
func (w *swarm) agents(ctx context.Context, s settings, n int, folder string, token seal.Token, again bool, log *slog.Logger) (natsbus.Options, error) {
	if !again {
		w.local.NATS, w.local.Join = seal.GenerateToken().Reveal(), token.Reveal()
	}
	secret := w.local.NATS
	server, err := embednats.Open(ctx, embednats.Options{Folder: filepath.Join(folder, "nats"), Port: w.local.Port, Token: secret, Logger: log})
	if err != nil {
		return natsbus.Options{}, err
	}
	w.closes = append(w.closes, func() { _ = server.Close() })
	w.local.Port = server.Port()
	o := natsbus.Options{URLs: []string{server.URL()}, Token: secret, Logger: log}
	if again {
		return o, nil
	}
	commands := agentCommands(n, o, folder, token, func(name string) (further []string) {
		if file := s.v.GetString("raw"); file != "" {
			further = []string{"--raw", raw.Beside(file, name)}
		}
		return append(further, "--once")
	})
	g, err := launch.Start(ctx, commands, launch.Options{Survive: true})
	if err != nil {
		return natsbus.Options{}, fmt.Errorf("starting the agents: %w", err)
	}
	w.note(g, commands)
	if err := w.local.keep(folder); err != nil {
		stopGroup(g)
		return o, err
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
	return o, nil
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
