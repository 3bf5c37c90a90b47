package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/gc"
	"github.com/twinfleet/twinfleet/internal/swarm/agent"
	"github.com/twinfleet/twinfleet/internal/swarm/launch"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/report"
)

// Variables with secrets of runs on many machines: they are in no command line.
const (
	joinTokenVariable = "TWINFLEET_JOIN_TOKEN" // that coordinator and agents know
	natsTokenVariable = "TWINFLEET_NATS_TOKEN" // that a NATS with one token for all wants
)

func newAgent(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run devices of runs that others lead: one run on many machines",
		Long: `Run devices of runs that others lead. An agent connects to a NATS server, says what it holds, and waits for
"twinfleet run --nats URL --agents N SCENARIO" to give it its part of a fleet. It serves one run after the other until Ctrl-C.

Whoever leads a run must know the agent's join token, which is in ` + joinTokenVariable + `: 16 characters or more, the same for all.`,
		Example: "  export " + joinTokenVariable + "=…\n  twinfleet agent --nats nats://192.0.2.7:4222",
		Args:    cobra.NoArgs,
	}
	addCommonFlags(c)
	addNATSFlags(c)
	f := c.Flags()
	f.String("name", "", "name of the agent, no other's: letters, digits, - and _ (default: the host's name and the process id)")
	f.Int("beside", 1, "how many agents there are on this machine, itself among them, which share what it has")
	f.Bool("once", false, "end after one run")
	f.String("raw", "", "file that takes every operation of its devices, of all runs, a row each: its name ends in .csv.gz or .parquet; none when empty")
	c.RunE = func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), e, cmd) }
	return c
}

// addNATSFlags are how a NATS server is reached.
func addNATSFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringSlice("nats", nil, "address of the NATS server: nats://host:4222, tls://…; several of one cluster may be given. "+natsTokenVariable+" has its token, if it wants one")
	f.String("nats-creds", "", "file with the credentials of a NATS user, as nsc makes them")
	f.String("nats-ca", "", "file with the certificate of the authority to trust for the NATS server")
}

// natsOptions is how the flags have a NATS server reached.
func natsOptions(e env, s settings, log *slog.Logger) natsbus.Options {
	return natsbus.Options{
		URLs: s.v.GetStringSlice("nats"), Token: e.getenv(natsTokenVariable), CredsFile: s.v.GetString("nats-creds"), CAFile: s.v.GetString("nats-ca"), Logger: log,
	}
}

// joinToken is what agents and coordinator must know.
func joinToken(e env) (seal.Token, error) {
	text := e.getenv(joinTokenVariable)
	if text == "" {
		return seal.Token{}, usagef("%s is not set: it is what agents and whoever leads a run must know, 16 characters or more", joinTokenVariable)
	}
	t, err := seal.NewToken(text)
	if err != nil {
		return t, usagef("%s: %w", joinTokenVariable, err)
	}
	return t, nil
}

// thisMachine is where this process runs, for records.
func thisMachine() report.Machine {
	return report.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()}
}

// agentWaits is how an agent says that it has begun.
const agentWaits = " waits for runs"

// agentName is a name for an agent that nobody named.
func agentName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "agent"
	}
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, host)
	return fmt.Sprintf("%.40s-%d", plain, os.Getpid())
}

func runAgent(ctx context.Context, e env, cmd *cobra.Command) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	log, err := s.logger(e.stderr)
	if err != nil {
		return err
	}
	if len(s.v.GetStringSlice("nats")) == 0 {
		return usagef("--nats: where is the NATS server? --nats nats://host:4222")
	}
	token, err := joinToken(e)
	if err != nil {
		return err
	}
	name := s.v.GetString("name")
	if name == "" {
		name = agentName()
	}
	rawFile, err := openRaw(s.v.GetString("raw"))
	if err != nil {
		return err
	}
	defer rawFile.abandon()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hard, done := e.stopperSaying(ctx, log, "stopping: the devices of a run that goes on leave", cancel)
	defer done()
	own := &errand{end: cancel, once: s.v.GetBool("once")}
	alone := whenOrphaned(ctx, log, func(context.Context) { own.orphaned(launch.Survives()) })
	defer alone()
	b, err := natsbus.Connect(hard, natsOptions(e, s, log))
	if err != nil {
		return usagef("--nats: %w", err)
	}
	defer b.Close()
	defer gc.Sparing.Tune()()
	a, err := agent.New(agent.Options{
		Bus: b, Name: name, Token: token, Program: versionText(), Machine: thisMachine(), Logger: log, Beside: s.v.GetInt("beside"),
		Tap: rawFile.tap(), Whole: rawFile.kept(s.v.GetBool("once")),
		Ran: func(run string, over bool) {
			if over {
				fmt.Fprintf(e.stdout, "agent %s: run %s is over\n", name, run)
			} else {
				fmt.Fprintf(e.stdout, "agent %s: run %s\n", name, run)
			}
			own.ran(over)
		},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "agent %s%s\n", name, agentWaits)
	if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return rawFile.whole()
}
