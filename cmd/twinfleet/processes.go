package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/internal/swarm/lead"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// hubHolds is how many connections one hub process is given: it may open 20,000 files where the usual limit cannot be raised.
const hubHolds = 15_000

// hubProcesses is in how many processes the embedded hub of a scenario runs with so many devices active at once, of which so many were asked for;
// 0 leaves it to the program. With a tier it never makes several by itself: each of them would have the limits of the whole hub, and what several
// hold one does not.
func hubProcesses(sc *scenario.Scenario, active, asked int) (int, error) {
	switch {
	case asked < 0 || asked > mostAgents:
		return 0, usagef("--hubs: %d is not from 0 to %s", asked, human.Count(mostAgents))
	case asked > 0:
		return asked, nil
	case sc.Target.Tier != "":
		return 1, nil
	default:
		return max(1, (sc.Connections(active)+hubHolds-1)/hubHolds), nil
	}
}

// roomInHubs reports whether so many processes of the embedded hub can have the connections of a scenario with the descriptors that each may have
// on a machine; facts.Descriptors of 0 are as many as they like.
func roomInHubs(sc *scenario.Scenario, hubs int, facts host.Facts) error {
	needs := fit.HubOf(sc, hubs, facts.Cores).Descriptors
	if facts.Descriptors == 0 || needs <= facts.Descriptors {
		return nil
	}
	each, enough := "", "no number of --hubs is enough"
	if hubs > 1 {
		each = " each"
	}
	if n := fit.HubsFor(sc, mostAgents, facts.Descriptors, facts.Cores); n > 0 {
		enough = fmt.Sprintf("--hubs %d is enough", n)
		if t := &sc.Target; t.Tier != "" {
			enough += fmt.Sprintf(", as so many hubs, each with the limits of %s of %s", human.Number(t.Units, "unit"), t.Tier)
		}
	}
	return fmt.Errorf("in %s the embedded hub needs %s%s, and may have %s (ulimit -n); %s", processes(hubs), human.Number(needs, "descriptor"), each,
		human.Count(facts.Descriptors), enough)
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return human.Count(n) + " processes"
}

// hubArgs are those of a process that is the embedded hub of a scenario: it behaves as one in the run's process would, whatever the environment
// says of other hubs, and does not hold its limits before it is told to.
func hubArgs(sc *scenario.Scenario) []string {
	t, shape := &sc.Target, target.Shape(&sc.Target).WithDefaults()
	none := func(d time.Duration) string {
		if d == 0 {
			d = -1 // the flags take 0 for the default
		}
		return d.String()
	}
	args := []string{"--page=false", "--seed", strconv.FormatUint(sc.Seed, 10), "--query-lag", t.QueryLag, "--armed=" + strconv.FormatBool(t.Tier == "")}
	if t.Tier != "" {
		args = append(args, "--tier", t.Tier, "--units", strconv.Itoa(t.Units), "--burst", none(shape.Burst), "--backlog", none(shape.Backlog),
			"--max-wait", none(shape.MaxWait), "--split-twin-limits="+strconv.FormatBool(shape.SplitTwins))
	}
	return args
}

// others are the settings of other commands that a process would take over with the environment, each taken away.
func others(environment []string) (without []string) {
	for _, x := range environment {
		name, _, _ := strings.Cut(x, "=")
		if strings.HasPrefix(name, "TWINFLEET_") && name != "TWINFLEET_LOG_LEVEL" && name != "TWINFLEET_LOG_FORMAT" {
			without = append(without, name+"=")
		}
	}
	return without
}

// hubCommands are the processes of the embedded hub for a scenario, and the files that they write where they are to.
func hubCommands(sc *scenario.Scenario, n int, folder, certs string) (commands []launch.Command, files []string) {
	for i := range n {
		name := fmt.Sprintf("hub-%d", i+1)
		file := filepath.Join(folder, name)
		args := append([]string{"hub", "--listen", "127.0.0.1:0", "--json", "--connection-string-file", file, "--cert-dir", certs}, hubArgs(sc)...)
		files = append(files, file)
		commands = append(commands, launch.Command{Name: name, Args: args, Env: others(os.Environ()), Output: filepath.Join(folder, name+".log")})
	}
	return commands, files
}

// startHubs starts processes of the embedded hub, which survive this one or end with it, and waits until they listen.
func startHubs(ctx context.Context, commands []launch.Command, survive bool) (*launch.Group, error) {
	g, err := launch.Start(ctx, commands, launch.Options{Survive: survive, Ready: hubReady})
	if err != nil {
		return nil, fmt.Errorf("starting the embedded hub: %w", err)
	}
	return g, nil
}

// startAgents starts agents, likewise, and waits until they wait for runs.
func startAgents(ctx context.Context, commands []launch.Command, survive bool) (*launch.Group, error) {
	g, err := launch.Start(ctx, commands, launch.Options{Survive: survive, Ready: agentReady})
	if err != nil {
		return nil, fmt.Errorf("starting the agents: %w", err)
	}
	return g, nil
}

// hubReady says by what a hub has said whether it listens: then it says where, for programs. Its log may be lines of JSON, too.
func hubReady(_, line string) bool { return strings.HasPrefix(line, `{"address":`) }

// watchHubs has a run fail when a process of its own hub ends: its devices have no target any more, which is nothing of the target's doing. The
// returned function ends the watching.
func watchHubs(ended <-chan launch.Exit, l *lead.Lead, words *lastWords) (done func()) {
	over := make(chan struct{})
	var own sync.WaitGroup
	own.Go(func() {
		select {
		case x, one := <-ended:
			if one {
				words.take(x)
				l.Fail(fmt.Errorf("%s, a process of the embedded hub, ended: %s", x.Name, x.Why()))
			}
		case <-over:
		}
	})
	return func() {
		close(over)
		own.Wait()
	}
}

// atHubs is a scenario against hubs that wrote files.
func atHubs(sc *scenario.Scenario, files []string) (*scenario.Scenario, error) {
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
	if t, n := &sc.Target, len(hubs); n > 1 && t.Tier != "" {
		out.Fitted = append(slices.Clone(out.Fitted), fmt.Sprintf("the devices are spread over %d hubs, each of which has the limits of %s of %s for its part of them: "+
			"what holds is of all of them together", n, human.Number(t.Units, "unit"), t.Tier))
	}
	return out, nil
}

// localAgent is the name of an agent of this machine, by its number from 0.
func localAgent(i int) string { return fmt.Sprintf("agent-%d", i+1) }

// agentReady says by what an agent has said whether it waits for runs.
func agentReady(_, line string) bool { return strings.HasSuffix(line, agentWaits) }

// agentCommands are agents on this machine, which talk over a server; further are the flags of one, nil for none. They take what is to be done
// from the coordinator alone: its own settings, as variables of the environment, are none of theirs.
func agentCommands(n int, o natsbus.Options, folder string, token seal.Token, further func(name string) []string) (commands []launch.Command) {
	for i := range n {
		name := localAgent(i)
		args := []string{"agent", "--nats", o.URLs[0], "--name", name, "--beside", strconv.Itoa(n)}
		if further != nil {
			args = append(args, further(name)...)
		}
		commands = append(commands, launch.Command{
			Name: name, Args: args, Env: others(os.Environ()), Output: filepath.Join(folder, name+".log"),
			Secrets: map[string]launch.Secret{joinTokenVariable: launch.Secret(token.Reveal()), natsTokenVariable: launch.Secret(o.Token)},
		})
	}
	return commands
}

// lastWords are what processes said that ended by themselves with an error: their files go with the run, and a line is not enough to mend what ended
// them. The zero value is ready; it is safe for concurrent use.
type lastWords struct {
	mu  sync.Mutex
	all []launch.Exit
}

func (w *lastWords) take(x launch.Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(x.Words()) > 0 {
		w.all = append(w.all, x)
	}
}

// tell says them once.
func (w *lastWords) tell(to io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.all {
		fmt.Fprintf(to, "%s ended with %s; it said:\n\t%s\n", x.Name, x, strings.Join(x.Words(), "\n\t"))
	}
	w.all = nil
}

// stopGroup ends processes.
func stopGroup(g *launch.Group) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = g.Stop(ctx)
}

// closeAll closes what was opened, the last first.
func closeAll(closes []func()) {
	for i := len(closes) - 1; i >= 0; i-- {
		closes[i]()
	}
}
