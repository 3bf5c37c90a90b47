package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/fault"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/throttle"
	"github.com/twinfleet/twinfleet/internal/identity"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/scenario"
)

// Target is what a run is pointed at, as far as others may know.
type Target struct {
	Name string   // without credentials
	Hub  *hub.Hub // the embedded one; nil for all others
}

// target is an open target. It is the fleet's Target and the worker's Querier.
type target struct {
	Target
	kind     scenario.TargetKind
	service  *service.Client               // nil for a broker; waits when the service throttles
	paced    *service.Client               // the same without retries, for those who pace themselves: a throttled call ends as such
	host     string                        // in user names and tokens
	hostName string                        // in connection strings of devices
	addr     string                        // of devices, host:port; not of the embedded hub
	tls      bool                          // devices speak TLS
	dial     link.Dialer                   // TCP
	secure   func(link.Dialer) link.Dialer // what is spoken on it: TLS, WebSocket; nil for nothing
	certTLS  *tls.Config                   // for devices with certificates
	network  *fault.Network                // between devices and the target
	keys     []iothub.Key
	certs    []*tls.Certificate // by device index; nil for devices with keys
	// authority signs certificates of devices; made in memory for the embedded hub, nil when no group asks for it.
	authority *identity.Authority
	life      []time.Duration // of a device's tokens, by index; an hour when 0
	groups    []scenario.Group
	topic     string // of a broker
	username  string
	password  string
}

var (
	_ fleet.Target   = (*target)(nil)
	_ worker.Querier = (*target)(nil)
)

// tokenLife is how long a device's token lives when its group does not say (iot-hub-dev-guide-sas).
const tokenLife = time.Hour

// openTarget opens what the scenario's target line names.
func (e *Engine) openTarget(ctx context.Context) (*target, error) {
	t := &target{kind: e.sc.Target.Kind, groups: e.sc.Fleet.Groups, network: fault.New(e.sc.Seed, e.sc.Devices())}
	for i := range e.sc.Fleet.Groups {
		g := &e.sc.Fleet.Groups[i]
		for range g.Count {
			t.life = append(t.life, g.Tokens.Life)
		}
	}
	var err error
	switch t.kind {
	case scenario.Embedded:
		err = e.openEmbedded(ctx, t)
	case scenario.IoTHub:
		err = e.openHub(t)
	default:
		err = e.openBroker(t)
	}
	if err != nil {
		return nil, err
	}
	if e.opts.OnTarget != nil {
		e.opts.OnTarget(t.Target)
	}
	return t, nil
}

func (e *Engine) openEmbedded(ctx context.Context, t *target) error {
	s := &e.sc.Target
	lag, err := hub.ParseQueryLag(s.QueryLag, e.sc.Seed)
	if err != nil {
		return err
	}
	authorities, err := e.authorities(t)
	if err != nil {
		return err
	}
	t.Hub, err = hub.Open(ctx, hub.Options{
		Logger: e.log, Tier: s.Tier, Units: s.Units, QueryLag: lag, Shape: throttle.Shape{Burst: s.Burst}, ClientCAs: authorities,
	})
	if err != nil {
		return err
	}
	t.Name = "embedded hub"
	if s.Tier != "" {
		t.Name += fmt.Sprintf(" (%s, %d units)", s.Tier, s.Units)
	}
	t.host = "localhost"
	if t.dial, err = e.tcp(t.Hub.Addr()); err == nil {
		err = t.openServices(t.Hub.ConnectionString("iothubowner"), "http://"+t.Hub.Addr(), nil)
	}
	t.certTLS = clientTLS("localhost", t.Hub.CAPool())
	if err != nil {
		return errors.Join(err, t.Hub.Close())
	}
	return nil
}

// pacedConnections are as many because direct methods hold one each while the device thinks.
const pacedConnections = 512

// openServices makes the clients of the service side.
func (t *target) openServices(c iothub.ServiceConnectionString, base string, roots *x509.CertPool) (err error) {
	if t.service, err = service.New(service.Options{ConnectionString: c, BaseURL: base, RootCAs: roots, Retries: 5}); err != nil {
		return err
	}
	t.paced, err = service.New(service.Options{ConnectionString: c, BaseURL: base, RootCAs: roots, Connections: pacedConnections})
	return err
}

// The ports of Azure IoT Hub (iot-mqtt-connect-to-iot-hub).
const mqttsPort = "8883"

func (e *Engine) openHub(t *target) error {
	c, err := iothub.ParseServiceConnectionString(e.sc.Target.Hub)
	if err != nil {
		return err
	}
	roots := e.roots()
	t.Name, t.host, t.hostName = c.HostName, c.HostName, c.HostName
	name, _, err := net.SplitHostPort(c.HostName)
	addr := c.HostName // one port that speaks everything, as twinfleet hub does
	if err != nil {
		name, addr = c.HostName, net.JoinHostPort(c.HostName, mqttsPort)
	}
	base := ""
	if e.sc.Target.Plain {
		base = "http://" + addr
	}
	if err = t.openServices(c, base, roots); err != nil {
		return err
	}
	t.addr, t.tls = addr, !e.sc.Target.Plain
	if t.dial, err = e.tcp(addr); err != nil {
		return err
	}
	t.certTLS = clientTLS(name, roots)
	if !e.sc.Target.Plain {
		config := tlsConfig(name, roots)
		t.secure = func(dial link.Dialer) link.Dialer { return link.TLS(dial, config) }
	}
	return nil
}

func tlsConfig(name string, roots *x509.CertPool) *tls.Config {
	c := clientTLS(name, roots)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	return c
}

// clientTLS is the configuration of devices with certificates: a session that one resumed would be another's.
func clientTLS(name string, roots *x509.CertPool) *tls.Config {
	return &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// authorities are those that signed certificates of devices, for the embedded hub to trust.
func (e *Engine) authorities(t *target) (all []*x509.Certificate, err error) {
	for i := range e.sc.Fleet.Groups {
		x := e.sc.Fleet.Groups[i].Identity.X509
		switch {
		case x == nil || x.Thumbprint:
		case x.Authority != nil:
			all = append(all, x.Authority.Certificate())
		case t.authority == nil:
			if t.authority, err = identity.NewAuthority(); err != nil {
				return nil, err
			}
			all = append(all, t.authority.Certificate())
		}
	}
	return all, nil
}

// roots are the certificates to trust; nil is the system's.
func (e *Engine) roots() *x509.CertPool {
	if len(e.sc.Target.Trusted) == 0 {
		return nil
	}
	pool := x509.NewCertPool()
	for _, c := range e.sc.Target.Trusted {
		pool.AddCert(c)
	}
	return pool
}

func (e *Engine) openBroker(t *target) error {
	u, err := url.Parse(e.sc.Target.Hub)
	if err != nil {
		return errors.New("target.hub is no URL")
	}
	roots := e.roots()
	secure := u.Scheme == "mqtts" || u.Scheme == "wss" || u.Scheme == "ssl"
	port := u.Port()
	if port == "" {
		port = map[string]string{"mqtt": "1883", "tcp": "1883", "mqtts": mqttsPort, "ssl": mqttsPort, "ws": "80", "wss": "443"}[u.Scheme]
	}
	t.Name = u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port)
	t.topic, t.username, t.password = e.sc.Target.Topic, e.sc.Target.Username, e.sc.Target.Password
	t.addr, t.tls = net.JoinHostPort(u.Hostname(), port), secure
	if t.dial, err = e.tcp(t.addr); err != nil {
		return err
	}
	config, resource := tlsConfig(u.Hostname(), roots), u.EscapedPath()
	if resource == "" {
		resource = "/mqtt"
	}
	if u.RawQuery != "" || u.ForceQuery {
		resource += "?" + u.RawQuery // may hold a secret
	}
	t.secure = func(dial link.Dialer) link.Dialer {
		if secure {
			dial = link.TLS(dial, config)
		}
		if u.Scheme == "ws" || u.Scheme == "wss" {
			dial = link.WebSocket(dial, u.Host, resource)
		}
		return dial
	}
	return nil
}

func (e *Engine) tcp(addr string) (link.Dialer, error) {
	var sources []net.IP
	for _, a := range e.sc.Fleet.SourceAddresses {
		ip := net.ParseIP(a)
		if ip == nil {
			return nil, fmt.Errorf("fleet.source_addresses: %q is no address", a)
		}
		sources = append(sources, ip)
	}
	return e.self.watch(link.TCP(addr, sources...)), nil
}

func (t *target) arm() {
	if t.Hub != nil {
		t.Hub.Arm()
	}
}

func (t *target) close() error {
	t.network.Wait()
	if t.service != nil {
		t.service.Close()
	}
	if t.paced != nil {
		t.paced.Close()
	}
	if t.Hub != nil {
		return t.Hub.Close()
	}
	return nil
}

// Twins reports whether the target keeps twins.
func (t *target) Twins() bool { return t.kind != scenario.Broker }

// apiVersion is what devices name in their user names; twins may hold arrays with it.
const apiVersion = "2021-04-12"

// Link is what a device's connection needs.
func (t *target) Link(index int, id string) link.Options {
	bare := t.network.Dial(index, t.dial)
	o := link.Options{ClientID: id, CleanSession: true, Dial: bare}
	if t.secure != nil {
		o.Dial = t.secure(bare)
	}
	if t.kind == scenario.Broker {
		o.Username = t.fill(t.username, index, id)
		if t.password != "" {
			o.Password = func() string { return t.fill(t.password, index, id) }
		}
		return o
	}
	o.Username = iothub.Username{Host: t.host, DeviceID: id, APIVersion: apiVersion}.String()
	if cert := t.certs[index]; cert != nil {
		config := t.certTLS.Clone()
		config.Certificates = []tls.Certificate{*cert}
		o.Dial = link.TLS(bare, config)
		return o
	}
	life := t.life[index]
	if life == 0 {
		life = tokenLife
	}
	key := t.keys[index]
	o.Password = func() string { return iothub.NewSAS(t.host+"/devices/"+id, key, "", time.Now().Add(life)) }
	return o
}

// groupOf is the group of the device of an index, and its number in it.
func (t *target) groupOf(index int) (g *scenario.Group, i int) {
	for n := range t.groups {
		g = &t.groups[n]
		if index < g.Count {
			break
		}
		index -= g.Count
	}
	return g, index
}

func (t *target) fill(template string, index int, id string) string {
	g, i := t.groupOf(index)
	return g.Fill(template, id, i)
}

// TelemetryTopic is where a device sends its messages.
func (t *target) TelemetryTopic(index int, id string) string {
	if t.kind != scenario.Broker {
		return iothub.TelemetryTopic(id, nil)
	}
	g, i := t.groupOf(index)
	if g.Telemetry.Topic != "" {
		return g.Fill(g.Telemetry.Topic, id, i)
	}
	return g.Fill(t.topic, id, i)
}

// subscriptions are what the devices of a group listen to; nil for nothing.
func (t *target) subscriptions(g *scenario.Group) func(index int, id string) []link.Filter {
	if len(g.Subscribe.Topics) == 0 {
		return nil
	}
	return func(index int, id string) []link.Filter {
		filters := make([]link.Filter, len(g.Subscribe.Topics))
		for i, topic := range g.Subscribe.Topics {
			filters[i] = link.Filter{Topic: t.fill(topic, index, id), QoS: byte(g.Subscribe.QoS)}
		}
		return filters
	}
}

// Query begins a query that waits when the service throttles.
func (t *target) Query(sql string, pageSize int) worker.Pager {
	return pager{t.service.Query(sql, pageSize)}
}

// querier begins queries with a client.
type querier struct{ *service.Client }

// Query begins a query.
func (q querier) Query(sql string, pageSize int) worker.Pager {
	return pager{q.Client.Query(sql, pageSize)}
}

type pager struct{ *service.Pager }

func (p pager) Next(ctx context.Context) ([]json.RawMessage, error) {
	page, err := p.Pager.Next(ctx)
	return page.Items, err
}
