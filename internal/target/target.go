// Package target opens what a scenario is pointed at: a hub in this process, an IoT Hub, a broker. An open Target gives
// devices their connections and credentials, and the service side its clients; what it can do it says by capabilities.
package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/fault"
	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
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
	Service, Paced *service.Client
	Faults         Faults // nil where there are none

	endpoint spec.Endpoint
	sc       *scenario.Scenario
	host     string                       // in user names and tokens
	hostName string                       // in connection strings of devices
	ways     map[spec.DeviceTransport]way // how devices reach it, by what they speak: those of the scenario's groups
	certTLS  *tls.Config                  // for devices with certificates
	devices  *Identities                  // how devices prove who they are; nil before Prove
	// authority signs certificates of devices; made in memory for a hub in this process, nil when no group asks for it.
	authority *authority.Authority
	service   connstring.Service            // of the service side; zero where there is none
	amqp      spec.Endpoint                 // where its AMQP is
	scope     string                        // id scope of a provisioning service in this process
	groupKey  sas.Key                       // of the enrollment group that it has from its beginning
	reach     func(addr string) link.Dialer // opens bare connections elsewhere than to the target, as to it
	arm       func()
	stage     func(name string) (leave func()) // nil unless it is a trial
	close     func() error
}

// Open opens what a scenario's target line names. Nothing of it is loaded or changed.
func Open(ctx context.Context, o Options) (*Target, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := Bare(o.Scenario, nil)
	var err error
	if t.endpoint, err = o.Scenario.Target.EndpointOver(first(o.Scenario)); err != nil {
		return nil, err
	}
	switch {
	case t.Can.InProcess:
		err = t.openEmbedded(ctx, &o)
	case t.Can.Service:
		err = t.openHub(&o)
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
func Bare(sc *scenario.Scenario, c *service.Client) *Target {
	return &Target{
		Can: sc.Target.Can(), sc: sc, Network: fault.New(sc.Seed, sc.Devices()), Service: c, Paced: c,
		arm: func() {}, close: func() error { return nil },
	}
}

// openServices makes the clients of the service side.
func (t *Target) openServices(c connstring.Service, base string, roots *x509.CertPool, dial link.Dialer) (err error) {
	t.service = c
	if t.Service, err = service.New(service.Options{ConnectionString: c, BaseURL: base, RootCAs: roots, Dial: dial, Retries: 5}); err != nil {
		return err
	}
	t.Paced, err = service.New(service.Options{ConnectionString: c, BaseURL: base, RootCAs: roots, Dial: dial, Connections: pacedConnections})
	return err
}

// pacedConnections are as many because direct methods hold one each while the device thinks.
const pacedConnections = 512

// openHub opens an IoT Hub elsewhere.
func (t *Target) openHub(o *Options) error {
	s := &t.sc.Target
	c, err := connstring.ParseService(s.Hub)
	if err != nil {
		return err
	}
	roots := trusted(s)
	t.Name, t.host, t.hostName = c.HostName, c.HostName, c.HostName
	base := ""
	if s.Plain {
		base = "http://" + t.endpoint.Addr
	}
	if err := t.openServices(c, base, roots, o.Dial); err != nil {
		return err
	}
	t.certTLS = clientTLS(t.endpoint.Host, roots)
	return t.transport(o, s.EndpointOver, roots)
}

// openBroker opens a plain broker.
func (t *Target) openBroker(o *Options) error {
	x := t.endpoint
	t.Name = x.Scheme + "://" + x.Addr
	return t.transport(o, t.sc.Target.EndpointOver, trusted(&t.sc.Target))
}

// transport settles what connections are made of: at is where devices are reached that speak a transport.
func (t *Target) transport(o *Options, at func(spec.DeviceTransport) (spec.Endpoint, error), roots *x509.CertPool) (err error) {
	var sources []net.IP
	for _, a := range t.sc.Fleet.SourceAddresses {
		sources = append(sources, net.ParseIP(a)) // all are addresses: it was validated
	}
	dial, watch := o.Dial, o.Watch
	t.reach = func(addr string) link.Dialer {
		d := dial
		if d == nil {
			d = link.TCP(addr, sources...)
		}
		if watch != nil {
			d = watch(d)
		}
		return d
	}
	t.ways = make(map[spec.DeviceTransport]way)
	bare := make(map[string]link.Dialer) // by address: those with source addresses use them in turn
	spoken := []spec.DeviceTransport{first(t.sc)}
	for i := range t.sc.Fleet.Groups {
		spoken = append(spoken, t.sc.Fleet.Groups[i].Over())
	}
	for _, over := range spoken {
		if _, known := t.ways[over]; known {
			continue
		}
		x, err := at(over)
		if err != nil {
			return err
		}
		dial, secure := t.transportTo(x, roots)
		if bare[x.Addr] == nil {
			bare[x.Addr] = dial
		}
		t.ways[over] = way{dial: bare[x.Addr], secure: secure, web: webOn(x)}
	}
	t.amqp, err = at(spec.AMQP)
	return err
}

// way is how devices reach a target that speak one transport.
type way struct {
	dial   link.Dialer                   // TCP, or what stands for it
	secure func(link.Dialer) link.Dialer // what is spoken on it: TLS, WebSocket; nil for nothing
	web    func(link.Dialer) link.Dialer // of that, what is spoken on TLS, for devices with certificates; nil for nothing
}

// webOn is the WebSocket of an endpoint; nil for none.
func webOn(x spec.Endpoint) func(link.Dialer) link.Dialer {
	if x.Web == "" {
		return nil
	}
	return func(dial link.Dialer) link.Dialer { return link.WebSocket(dial, x.Web, x.Path, x.SubProtocol) }
}

// transportTo is what connections to an address are made of: the bare ones, and what is spoken on them; nil for nothing.
func (t *Target) transportTo(x spec.Endpoint, roots *x509.CertPool) (bare link.Dialer, secure func(link.Dialer) link.Dialer) {
	bare = t.reach(x.Addr)
	if !x.TLS && x.Web == "" {
		return bare, nil
	}
	config := clientTLS(x.Host, roots)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	web := webOn(x)
	return bare, func(dial link.Dialer) link.Dialer {
		if x.TLS {
			dial = link.TLS(dial, config)
		}
		if web != nil {
			dial = web(dial)
		}
		return dial
	}
}

// clientTLS is the configuration of devices with certificates: a session that one resumed would be another's.
func clientTLS(name string, roots *x509.CertPool) *tls.Config {
	return &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// Endpoint is where the devices of the first group connect.
func (t *Target) Endpoint() spec.Endpoint { return t.endpoint }

// HostName is what connection strings of devices name.
func (t *Target) HostName() string { return t.hostName }

// Roots are the certificates that the service side trusts; nil is the system's.
func (t *Target) Roots() *x509.CertPool { return trusted(&t.sc.Target) }

// Dialer opens the connections of a device of the first group: the bare ones, or with all that is spoken below what the device says.
func (t *Target) Dialer(bare bool) link.Dialer {
	w := t.ways[first(t.sc)]
	if bare || w.secure == nil {
		return w.dial
	}
	return w.secure(w.dial)
}

// Arm begins to hold the limits of a target in this process: setting it up is no load.
func (t *Target) Arm() { t.arm() }

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
