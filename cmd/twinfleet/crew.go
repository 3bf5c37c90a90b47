package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinfleet/twinfleet/internal/doctor"
	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// addCrewFlags gives a command the flags that ask for a run on agents of this machine.
func addCrewFlags(c *cobra.Command) {
	c.Flags().Int("agents", 0, "think of so many agents on this machine that run the devices, as run --agents has them; 0 thinks of one process")
	c.Flags().Int("hubs", 0, "with --agents and the embedded hub: in how many processes the hub runs; as many as the devices need when 0")
}

// crew is a run on agents of this machine.
type crew struct {
	*fit.Crew
	each     plan.Machine
	scenario *scenario.Scenario // as the agents have it
	facts    host.Facts
}

// crewOf says what a scenario needs on the agents that were asked for; nil when none were.
func (s settings) crewOf(sc *scenario.Scenario) (*crew, error) {
	n, err := numberOfAgents(s, "hubs")
	if err != nil || n == 0 {
		return nil, err
	}
	hubs := s.v.GetInt("hubs")
	facts, err := host.Read()
	if err != nil {
		return nil, fmt.Errorf("reading what this machine allows: %w", err)
	}
	own, hub := sc, (*fit.Hub)(nil)
	if sc.Target.Kind == spec.Embedded {
		if hubs, err = hubProcesses(sc, fit.Active(sc), hubs); err != nil {
			return nil, err
		}
		hub = fit.HubOf(sc, hubs, facts.Cores)
		if own, err = target.Elsewhere(sc, made(hubs)); err != nil {
			return nil, usagef("--agents: %w", err)
		}
	}
	if own, err = settleAgents(own, n, false); err != nil {
		return nil, err
	}
	c := fit.NewCrew(own, facts, n, hub)
	return &crew{c, fit.Demand(own, c.Devices, n), own, facts}, nil
}

// made are places on this machine that stand for hubs which are not started.
func made(n int) (all []connstring.Service) {
	for i := range n {
		all = append(all, connstring.Service{HostName: fmt.Sprintf("localhost:%d", i+1), Policy: "none", Key: sas.NewKey()})
	}
	return all
}

// settled is a scenario with the client that agents have.
func (c *crew) settled(sc *scenario.Scenario) *scenario.Scenario {
	out := *sc
	out.Fleet.Client, out.Fitted = c.scenario.Fleet.Client, slices.Clone(c.scenario.Fitted)
	if out.Target.Transport == spec.Auto {
		out.Target.Transport = spec.TCP
	}
	return &out
}

// write says for people what the machine holds, and what the fleet needs.
func (c *crew) write(w io.Writer) error {
	f := doctor.Crew(c.Crew)
	mark := map[doctor.Level]string{doctor.OK: "✓ "}[f.Level]
	if mark == "" {
		mark = "✗ "
	}
	b := &strings.Builder{}
	human.Wrap(b, mark, "  ", "agents: "+f.Text)
	human.Wrap(b, "  ", "  ", "the fleet needs "+doctor.Spread(&c.Machines))
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
