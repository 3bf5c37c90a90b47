// Package crew is the devices' part of a run: the fleet of a scenario, moved, loaded and disturbed as its stages say. Whoever leads a run has
// one; in a run on many machines each agent has one too, for the devices that are its own.
package crew

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Options of a Crew.
type Options struct {
	Scenario   *scenario.Scenario // required
	Target     *target.Target     // required
	Identities *target.Identities // required
	Recorder   *metrics.Recorder  // required
	Logger     *slog.Logger       // nil logs nothing
	Run        string             // fleet.Config has this and the following fields
	Start      time.Time
	Mine       func(index int) bool
	Others     *fleet.Others

	OnDesired       func(fleet.DesiredUpdate)
	OnReporting     func(index int, sent time.Time)
	OnReported      func(fleet.Report)
	OnContradiction func(fleet.Contradiction)

	// Driver is for tests: it drives devices that speak a transport. Nil is the scenario's client.
	Driver func(spec.DeviceTransport) link.Driver
}

// Crew is a scenario's fleet and what its stages do with it.
type Crew struct {
	Fleet *fleet.Fleet // its devices

	sc     *scenario.Scenario
	target *target.Target
	ids    *target.Identities
}

// New makes the devices of a scenario, which wait.
func New(o Options) (*Crew, error) {
	c := &Crew{sc: o.Scenario, target: o.Target, ids: o.Identities}
	speak := voices{client: o.Scenario.Fleet.Client, test: o.Driver, made: make(map[spec.DeviceTransport]link.Driver)}
	driver, err := speak.over(spec.MQTT)
	if err != nil {
		return nil, err
	}
	cfg := fleet.Config{
		Run: o.Run, Seed: c.sc.Seed, Target: c.target, Driver: driver, Recorder: o.Recorder, Logger: o.Logger, Start: o.Start, Mine: o.Mine, Others: o.Others,
		OnDesired: o.OnDesired, OnReporting: o.OnReporting, OnReported: o.OnReported, OnContradiction: o.OnContradiction,
	}
	rated, every := c.sc.Rated(false), toEvery(c.sc)
	for i := range c.sc.Fleet.Groups {
		g := &c.sc.Fleet.Groups[i]
		profile, err := groupProfile(g)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		if profile.Driver, err = speak.over(g.Over()); err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		profile.Protocol = c.target.ProtocolOver(g.Over())
		profile.First, profile.IDs = c.ids.First(g), c.ids.Of(g)
		if every && g.Listens() {
			profile.IDs = named(g, profile.IDs)
		}
		filler{c.sc, g, profile.First}.speaks(&profile)
		profile.Telemetry.Rated = slices.Contains(rated, g.Name)
		profile.Provision = c.target.Provisioning(g)
		cfg.Groups = append(cfg.Groups, profile)
	}
	c.Fleet, err = fleet.New(cfg)
	return c, err
}

// toEvery reports whether messages are for every subscriber, so that it matters who listens to what.
func toEvery(sc *scenario.Scenario) bool {
	for i := range sc.Fleet.Groups {
		for _, k := range sc.Fleet.Groups[i].Kinds() {
			if k.Deliveries < 0 {
				return true
			}
		}
	}
	return false
}

// named are the ids of a group's devices, with those that other processes run and that this one was not given.
func named(g *scenario.Group, ids []string) []string {
	out := slices.Clone(ids)
	for i := range out {
		if out[i] == "" {
			out[i] = g.DeviceID(i)
		}
	}
	return out
}

// voices are the drivers of a run: one for all groups that speak the same.
type voices struct {
	client string // that drives those who speak MQTT
	test   func(spec.DeviceTransport) link.Driver
	made   map[spec.DeviceTransport]link.Driver
}

// over is the driver of a transport, which WebSocket below it does not change.
func (v *voices) over(x spec.DeviceTransport) (d link.Driver, err error) {
	switch {
	case x.IsMQTT():
		x = spec.MQTT
	case x.IsAMQP():
		x = spec.AMQP
	}
	if v.made[x] != nil {
		return v.made[x], nil
	}
	switch {
	case v.test != nil:
		d = v.test(x)
	case x == spec.MQTT:
		if d, err = drivers.New(v.client); err != nil {
			err = fmt.Errorf("fleet.client: %w", err)
		}
	default:
		d, err = drivers.Over(string(x))
	}
	if err != nil {
		return nil, err
	}
	v.made[x] = d
	return d, nil
}
