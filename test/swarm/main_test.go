//go:build integration

package swarm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/agent"
	"github.com/twinfleet/twinfleet/internal/swarm/clock"
	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/test/rig"
)

var (
	swarmRounds = flag.Int("swarm.rounds", 1, "how often each kind of loss is tried")
	swarmSeed   = flag.Uint64("swarm.seed", 1, "seed of the first round; the others follow")
)

// Variables that make the test's own program something else.
const (
	roleVariable  = "SWARM_TEST_ROLE" // nats or agent; empty for the tests
	joinVariable  = "TWINFLEET_JOIN_TOKEN"
	tokenVariable = "TWINFLEET_NATS_TOKEN"
)

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleVariable); role {
	case "":
		rig.Main(m)
	case "nats":
		err = beNATS()
	case "agent":
		err = beAgent()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// role is what is to be in the environment of a process that is this program in another role.
func role(name string, more ...string) []string {
	return append([]string{roleVariable + "=" + name}, more...)
}

// stopped is a context that ends when somebody asks this process to.
func stopped() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

// beNATS is a NATS server of its own: NATS_PORT and NATS_FOLDER say where.
func beNATS() error {
	ctx, cancel := stopped()
	defer cancel()
	port, err := strconv.Atoi(os.Getenv("NATS_PORT"))
	if err != nil {
		return err
	}
	s, err := embednats.Open(ctx, embednats.Options{Port: port, Folder: os.Getenv("NATS_FOLDER"), Token: os.Getenv(tokenVariable)})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println("nats at", s.URL())
	<-ctx.Done()
	return nil
}

// beAgent is an agent whose clock is ahead by CLOCK_AHEAD.
func beAgent() error {
	ctx, cancel := stopped()
	defer cancel()
	ahead, err := time.ParseDuration(os.Getenv("CLOCK_AHEAD"))
	if err != nil {
		return err
	}
	token, err := seal.NewToken(os.Getenv(joinVariable))
	if err != nil {
		return err
	}
	b, err := natsbus.Connect(ctx, natsbus.Options{URLs: []string{os.Getenv("NATS_URL")}, Token: os.Getenv(tokenVariable)})
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, over := context.WithCancel(ctx)
	defer over()
	name := os.Getenv("AGENT_NAME")
	a, err := agent.New(agent.Options{
		Bus: b, Name: name, Token: token, Program: "test", Clock: clock.Shifted(time.Now, ahead, 0, time.Now()), Beside: 4,
		Ran: func(_ string, done bool) {
			if done {
				over()
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("agent", name, "waits")
	if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
