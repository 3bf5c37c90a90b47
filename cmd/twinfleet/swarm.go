package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
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
	f.Duration("agent-wait", time.Minute, "how long to wait for NATS and for the agents")
	f.Int("hubs", 0, "with --agents and the embedded hub: in how many processes the hub runs, which share the devices; as many as the devices need when 0")
}

// mostAgents bounds the agents of a run, and its hubs.
const mostAgents = 1000

// agentsAsked is on how many agents a run was asked for, and whether they are elsewhere; none is a run in this process.
func agentsAsked(s settings) (n int, remote bool, err error) {
	remote = len(s.v.GetStringSlice("nats")) > 0
	if s.v.GetInt("agents") == 0 && remote {
		return 0, false, usagef("--nats: how many agents are waited for? --agents N")
	}
	n, err = numberOfAgents(s, "hubs", "agent-wait", "on-agent-loss", "on-coordinator-loss", "resume")
	switch {
	case err != nil:
		return 0, false, err
	case n > 0 && s.v.GetDuration("agent-wait") <= 0:
		return 0, false, usagef("--agent-wait %s: use more than 0s", s.v.GetDuration("agent-wait"))
	}
	return n, remote, nil
}

// numberOfAgents is how many were asked for; without any, the flags that say how a run on agents goes must not be given to the command itself:
// a line in the environment is for runs that have agents, too.
func numberOfAgents(s settings, flags ...string) (int, error) {
	n := s.v.GetInt("agents")
	if n < 0 || n > mostAgents {
		return 0, usagef("--agents: %d is not from 0 to %s", n, human.Count(mostAgents))
	}
	for _, flag := range flags {
		if n == 0 && s.typed(flag) {
			return 0, usagef("--%s says how a run on agents goes; give --agents N with it", flag)
		}
	}
	return n, nil
}

// swarm is what a run on agents has beside the run.
type swarm struct {
	lead      *lead.Lead
	resume    *engine.Resume // of a run that is taken over; else nil
	local     localState
	began     bool               // this process leads it: nobody takes it over when that is done
	handOver  func() bool        // as env.starting has it
	ended     <-chan launch.Exit // agents that this process has started; nil for none
	hubsEnded <-chan launch.Exit // processes of the hub that this process has started; nil for none
	watching  sync.WaitGroup     // waits for who listens to ended
	words     lastWords
	stderr    io.Writer
	closes    []func() // of what this process has
	ends      []func() // of what the run has and who takes it over needs, when this process is gone
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

// close ends the run: what this process has of it, and what others could have taken over.
func (s *swarm) close() {
	s.handOver()
	closeAll(s.closes)
	closeAll(s.ends)
	s.words.tell(s.stderr)
}

// newSwarm starts what a run on agents needs, and gives the scenario as it runs there. It is nil for a run in this process.
func newSwarm(ctx context.Context, e env, s settings, sc *scenario.Scenario, p *parcel.Parcel, log *slog.Logger) (*scenario.Scenario, *swarm, error) {
	n, remote, err := agentsAsked(s)
	if err != nil || n == 0 {
		return sc, nil, err
	}
	for _, x := range []struct {
		flag    string
		choices []string
	}{{"on-agent-loss", []string{lead.Fail, lead.Continue, lead.Redistribute}}, {"on-coordinator-loss", []string{"finish", "stop"}}} {
		if value := s.v.GetString(x.flag); !slices.Contains(x.choices, value) {
			return sc, nil, usagef("--%s: %q is none of %s", x.flag, value, strings.Join(x.choices, ", "))
		}
	}
	if err := lead.Refuse(sc, s.v.GetString("on-agent-loss")); err != nil { // before anything is started
		return sc, nil, withCode(codeUsage, err)
	}
	w := &swarm{stderr: e.stderr}
	again := s.v.GetString("resume") != ""
	starting, handOver := e.starting(ctx, log)
	w.handOver = handOver
	own, err := w.start(starting, e, s, sc, p, log, n, remote)
	if err != nil && w.handOver() {
		err = errStarting
	}
	switch {
	case err != nil && again:
		closeAll(w.closes) // what is there may still be taken over
	case err != nil:
		w.close()
	}
	if err != nil {
		return sc, nil, err
	}
	w.began = true
	return own, w, nil
}

// start starts it; what was started when it fails is in closes and ends.
func (w *swarm) start(
	ctx context.Context, e env, s settings, sc *scenario.Scenario, p *parcel.Parcel, log *slog.Logger, n int, remote bool,
) (*scenario.Scenario, error) {
	id := s.v.GetString("resume")
	again := id != ""
	if !again {
		id = time.Now().UTC().Format("20060102-150405") + "-" + sc.Name
	}
	if id != filepath.Base(id) || id == ".." {
		return nil, usagef("--resume: %q is no id of a run; it was printed when the run began, as in 20260102-150405-plant", id)
	}
	var folder string
	var err error
	if !remote || sc.Target.Kind == spec.Embedded { // else no process of the run has files here
		if folder, err = w.folder(s, id, again && !remote); err != nil {
			return nil, err
		}
	}
	if sc.Target.Kind == spec.Embedded {
		if again {
			sc, err = w.hubsAgain(sc)
		} else {
			sc, err = w.hubs(ctx, s, sc, folder)
		}
		if err != nil {
			return nil, err
		}
	}
	if again && !remote && sc.Fleet.Client == scenario.AnyClient {
		own := *sc
		own.Fleet.Client, sc = w.local.Client, &own
	} else if sc, err = settleAgents(sc, n, remote); err != nil {
		return nil, err
	}
	w.local.Client = sc.Fleet.Client
	o, token := natsOptions(e, s, log), seal.Token{}
	switch {
	case remote:
		token, err = joinToken(e)
	case again:
		if token, err = seal.NewToken(w.local.Join); err == nil {
			o, err = w.server(ctx, folder, log)
		}
	default:
		token = seal.GenerateToken()
		o, err = w.agents(ctx, s, n, folder, token, log)
	}
	if err != nil {
		return nil, err
	}
	b, err := busOf(ctx, s, o)
	if err != nil {
		return nil, err
	}
	w.closes = append(w.closes, func() { _ = b.Close() })
	l, err := lead.New(lead.Options{
		Bus: b, Run: id, Token: token, Agents: n, Parcel: p, OnLoss: s.v.GetString("on-agent-loss"), Alone: s.v.GetString("on-coordinator-loss"),
		Override: []string{"fleet.client=" + sc.Fleet.Client},
		Wait:     s.v.GetDuration("agent-wait"), Logger: log, Tell: func(text string) { fmt.Fprintln(e.stderr, text) },
	})
	if err != nil {
		return nil, err
	}
	w.lead = l
	if w.ended != nil {
		w.watching.Go(func() {
			for x := range w.ended {
				w.words.take(x)
				l.Lose(x.Name, "its process ended: "+x.Why())
			}
		})
	}
	if w.hubsEnded != nil {
		w.closes = append(w.closes, watchHubs(w.hubsEnded, l, &w.words))
	}
	w.closes = append(w.closes, func() {
		l.Close()
		if w.began {
			forget(b, protocol.StoreName(id), log)
		}
	})
	if !again {
		fmt.Fprintf(e.stderr, "run %s; if this process is lost: twinfleet run --resume %s with the same scenario and flags\n", id, id)
		return sc, nil
	}
	if w.resume, err = l.Takeover(ctx, sc); err != nil {
		return nil, withCode(codeUsage, err)
	}
	fmt.Fprintf(e.stderr, "takes over run %s\n", id)
	return sc, nil
}

// busOf connects to NATS, for which it waits as long as for the agents.
func busOf(ctx context.Context, s settings, o natsbus.Options) (*natsbus.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.v.GetDuration("agent-wait"))
	defer cancel()
	b, err := natsbus.Connect(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("--nats: %w", err)
	}
	return b, nil
}

// forget removes what NATS keeps of a run that is over and that nobody takes over: a server has room for few of them.
func forget(b *natsbus.Conn, store string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := b.Drop(ctx, store); err != nil {
		log.Warn("what NATS keeps of the run is not removed", "store", store, "error", err)
	}
}

// folder is where the processes of a run on this machine have their files; of a run that is taken over it is there, and says what they are.
func (w *swarm) folder(s settings, id string, local bool) (string, error) {
	root := s.v.GetString("out")
	if root == "" { // not where others may write: what is kept there is secret
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", usagef("--out must be given: %w", err)
		}
		root = filepath.Join(cache, "twinfleet")
	}
	folder := filepath.Join(root, ".agents", id)
	w.ends = append(w.ends, func() {
		_ = os.RemoveAll(folder)
		_ = os.Remove(filepath.Dir(folder)) // unless there are others
	})
	if !local {
		err := os.MkdirAll(root, 0o755)
		if err == nil {
			err = os.MkdirAll(folder, 0o700)
		}
		if err != nil {
			return "", fmt.Errorf("making a folder for the agents: %w", err)
		}
		return folder, nil
	}
	b, err := os.ReadFile(filepath.Join(folder, localStateFile))
	if err == nil {
		err = json.Unmarshal(b, &w.local)
	}
	if err != nil {
		return "", usagef("--resume: %s: no run of this machine can be taken over there: %w", id, err)
	}
	return folder, nil
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

// hubs starts the embedded hub in processes of its own.
func (w *swarm) hubs(ctx context.Context, s settings, sc *scenario.Scenario, folder string) (*scenario.Scenario, error) {
	n, err := hubProcesses(sc, fit.Active(sc), s.v.GetInt("hubs"))
	if err != nil {
		return sc, err
	}
	facts, err := host.Read()
	if err != nil {
		return sc, fmt.Errorf("reading what this machine allows: %w", err)
	}
	if err := roomInHubs(sc, n, facts); err != nil {
		return sc, withCode(codeUsage, err)
	}
	commands, files := hubCommands(sc, n, folder, filepath.Join(folder, "certs"))
	g, err := startHubs(ctx, commands, true)
	if err != nil {
		return sc, err
	}
	w.hubsEnded = g.Ended()
	w.ends = append(w.ends, func() { stopGroup(g) })
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
	w.ends = append(w.ends, func() {
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

// server starts the NATS server of a run on this machine, or starts it again.
func (w *swarm) server(ctx context.Context, folder string, log *slog.Logger) (natsbus.Options, error) {
	server, err := embednats.Open(ctx, embednats.Options{Folder: filepath.Join(folder, "nats"), Port: w.local.Port, Token: w.local.NATS, Logger: log})
	if err != nil {
		return natsbus.Options{}, err
	}
	w.closes = append(w.closes, func() { _ = server.Close() })
	w.local.Port = server.Port()
	return natsbus.Options{URLs: []string{server.URL()}, Token: w.local.NATS, Logger: log}, nil
}

// agents starts agents on this machine, and the NATS server that they talk over.
func (w *swarm) agents(ctx context.Context, s settings, n int, folder string, token seal.Token, log *slog.Logger) (natsbus.Options, error) {
	w.local.NATS, w.local.Join = seal.GenerateToken().Reveal(), token.Reveal()
	o, err := w.server(ctx, folder, log)
	if err != nil {
		return o, err
	}
	commands := agentCommands(n, o, folder, token, func(name string) (further []string) {
		if file := s.v.GetString("raw"); file != "" {
			further = []string{"--raw", raw.Beside(file, name)}
		}
		return append(further, "--once")
	})
	g, err := startAgents(ctx, commands, true)
	if err != nil {
		return natsbus.Options{}, err
	}
	w.note(g, commands)
	if err := w.local.keep(folder); err != nil {
		stopGroup(g)
		return o, err
	}
	w.ended = g.Ended()
	w.closes = append(w.closes, func() {
		stopGroup(g)
		w.watching.Wait()
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
