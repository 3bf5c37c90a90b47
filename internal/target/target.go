// Package target opens what a scenario is pointed at: a hub in this process, an IoT Hub, a broker. An open Target gives
// devices their connections and credentials, and the service side its clients; what it can do it says by capabilities.
package target

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/fault"
	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/target/reach"
	"github.com/twinfleet/twinfleet/internal/target/several"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Options of Open.
type Options struct {
	Scenario *scenario.Scenario // required
	Logger   *slog.Logger       // nil logs nothing
	// Watch, which may be nil, is put around what opens connections: it sees which of them fail, and why.
	Watch func(link.Dialer) link.Dialer
	// Recorder shows the numbers of a hub in this process; nil shows none.
	Recorder *metrics.Recorder
	// Memory keeps a hub in this process off the network: it opens no port, so that it can run in virtual time.
	Memory bool
	// Dial opens the connections of devices and of the service side to a target elsewhere; nil dials TCP.
	Dial link.Dialer
	// DialTo is Dial where there are several hubs: it is asked for each, by the name and port in its connection string. Nil asks Dial.
	DialTo func(hub string) link.Dialer
	// Resolver finds the addresses of a broker's name where all of them are taken in turn; nil is the system's.
	Resolver reach.Resolver
	// Devices opens a target for devices alone, in a process that is a part of a run: it has no service side and no registry, whatever its
	// kind, and makes no identities. The hub must be elsewhere: ErrInProcess.
	Devices bool
}

// dialer is what opens connections to a hub; nil dials TCP.
func (o *Options) dialer(hub string) link.Dialer {
	if o.DialTo != nil {
		return o.DialTo(hub)
	}
	return o.Dial
}

// Faults is the switch that makes a target fail on purpose.
type Faults interface {
	Refuse(d time.Duration)  // refuses connections for a time
	Stall(d time.Duration)   // answers nothing for a time
	Restart(d time.Duration) // closes all connections, and refuses new ones for a time
	DropAcks(share float64)  // leaves out acknowledgements until it is told another share
	// Serve serves operations by a model until it is told another; nil serves at once. The n-th operation's time follows from
	// the seed.
	Serve(m *scenario.ServiceModel, seed uint64)
	// Provision has the provisioning service misbehave until it is told another; nil has it behave.
	Provision(m *scenario.DPSFault)
}

// Target is an open target. It is a fleet's Target.
type Target struct {
	Name    string            // without credentials
	Note    string            // what somebody who reads the figures must know of it; empty for nothing
	Can     spec.Capabilities // what it is able to do: asked instead of its kind
	Network *fault.Network    // between devices and the target
	// Service is the client of the service side, which waits when the service throttles; Paced is the same without retries, for
	// those who pace themselves: a throttled call ends as such. Both are nil where there is no service side.
	Service, Paced Service
	Faults         Faults // nil where there are none

	sc      *scenario.Scenario
	places  []*place    // where devices connect: one, or the hubs that they are dealt to
	brokers *brokers    // other servers that a broker names; nil for hubs
	devices *Identities // how devices prove who they are; nil before Identities
	// authority signs certificates of devices; made in memory for a hub in this process, nil when no group asks for it.
	authority *authority.Authority
	service   connstring.Service // of the service side of the one hub; zero where there is none, or several
	scope     string             // id scope of a provisioning service in this process
	groupKey  sas.Key            // of the enrollment group that it has from its beginning
	arm       func(ctx context.Context) error
	stage     func(name string) (leave func()) // nil unless it is a trial
	close     func() error
}

// Service is what a run does at the service side: at one hub, or at the several that its devices are dealt to.
type Service = several.Service

// ErrInProcess is returned for a hub in this process where one elsewhere is needed: see Elsewhere.
var ErrInProcess = errors.New("the embedded hub is in the process of the run")

// Open opens what a scenario's target line names. Nothing of it is loaded or changed.
func Open(ctx context.Context, o Options) (*Target, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := Bare(o.Scenario, nil)
	t.places = nil
	var err error
	switch {
	case t.Can.InProcess && o.Devices:
		return nil, fmt.Errorf("%w, and devices in another process cannot reach it", ErrInProcess)
	case t.Can.InProcess:
		err = t.openEmbedded(ctx, &o)
	case t.Can.Service:
		err = t.openHubs(&o)
	default:
		err = t.openBroker(&o)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// first is what devices of the first group speak.
func first(sc *scenario.Scenario) spec.DeviceTransport {
	if len(sc.Fleet.Groups) == 0 {
		return spec.MQTT
	}
	return sc.Fleet.Groups[0].Over()
}

// Bare is a target of which nothing is opened: for a driver that needs no connections, and a service side that is given.
func Bare(sc *scenario.Scenario, c Service) *Target {
	return &Target{
		Can: sc.Target.Can(), sc: sc, Network: fault.New(sc.Seed, sc.Devices()), Service: c, Paced: c, places: []*place{{}},
		arm: func(context.Context) error { return nil }, close: func() error { return nil },
	}
}

// at is where the device of an index connects.
func (t *Target) at(index int) *place {
	if len(t.places) == 1 {
		return t.places[0]
	}
	return t.places[t.sc.HubOf(index)]
}

// Endpoint is where the devices of the first group connect, to the first of several hubs.
func (t *Target) Endpoint() spec.Endpoint { return t.places[0].endpoint }

// HostName is what the connection string of the device of an index names.
func (t *Target) HostName(index int) string { return t.at(index).hostName }

// Roots are the certificates that the service side trusts, that of the first of several hubs; nil is the system's.
func (t *Target) Roots() *x509.CertPool { return t.places[0].roots }

// Dialer opens the connections of a device of the first group: the bare ones, or with all that is spoken below what the device says.
func (t *Target) Dialer(bare bool) link.Dialer {
	w := t.places[0].ways[first(t.sc)]
	if bare {
		return w.dial
	}
	return w.over()
}

// Connecting opens connections to the target on which nothing was said yet: through the proxy, where there is one.
func (t *Target) Connecting() link.Dialer {
	w := t.places[0].ways[first(t.sc)]
	w.secure = nil
	return w.over()
}

// Arm begins to hold the limits of a target in this process, or of hubs that are processes of its own: setting it up is no load. Of another
// target it is nothing.
func (t *Target) Arm(ctx context.Context) error { return t.arm(ctx) }

// Close closes what the Target holds, and the target when it is in this process.
func (t *Target) Close() error {
	t.Network.Wait()
	if t.Service != nil {
		t.Service.Close()
	}
	if t.Paced != nil {
		t.Paced.Close()
	}
	return t.close()
}
