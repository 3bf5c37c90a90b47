package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/target/several"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// place is where devices connect: the target, or one of the hubs that they are dealt to.
type place struct {
	endpoint spec.Endpoint                 // of the first group
	host     string                        // in user names and tokens
	hostName string                        // in connection strings of devices
	ways     map[spec.DeviceTransport]way  // how devices reach it, by what they speak: those of the scenario's groups
	certTLS  *tls.Config                   // for devices with certificates
	roots    *x509.CertPool                // what is trusted; nil is the system's
	amqp     spec.Endpoint                 // where its AMQP is
	reach    func(addr string) link.Dialer // opens bare connections elsewhere than to a hub, as to it; nil for brokers
	web      http.Header                   // of requests for WebSockets; nil for none
}

// openHubs opens IoT hubs elsewhere: one, or several.
func (t *Target) openHubs(o *Options) error {
	var paced, patient []Service
	var arms []func(context.Context) error
	var names []string
	each := t.sc.Target.Each()
	if o.Devices {
		t.Can.Service, t.Can.Registry = false, false
	}
	for i := range each {
		c, err := connstring.ParseService(each[i].Hub)
		if err != nil {
			return err
		}
		p := &place{host: c.HostName, hostName: c.HostName, roots: trusted(&each[i])}
		dial := o.dialer(c.HostName)
		if err := p.open(t.sc, &each[i], o, dial); err != nil {
			return err
		}
		p.certTLS = clientTLS(p.endpoint.Host, p.roots)
		t.places, names = append(t.places, p), append(names, c.HostName)
		if o.Devices {
			continue
		}
		base := ""
		if each[i].Plain {
			base = "http://" + p.endpoint.Addr
		}
		one, two, err := services(c, base, p.roots, dial)
		if err != nil {
			return err
		}
		patient, paced, t.service = append(patient, one), append(paced, two), c
		arms = append(arms, one.Arm)
	}
	if t.sc.Target.Kind == spec.Apart && t.sc.Target.Tier != "" {
		t.arm = func(ctx context.Context) error {
			for i, arm := range arms { // all of them, or the limits are not those of the scenario
				if err := arm(ctx); err != nil {
					return fmt.Errorf("%s: %w", names[i], err)
				}
			}
			return nil
		}
	}
	t.Name = names[0]
	if len(each) > 1 {
		t.Name = human.Number(len(each), "hub") + ": " + strings.Join(names, ", ")
		t.service = connstring.Service{}
	}
	if t.sc.Target.Kind == spec.Apart {
		t.Name = t.Can.Name + " in a process of its own, " + t.Name
	}
	switch at := t.hubOf(); len(paced) {
	case 0:
	case 1:
		t.Service, t.Paced = patient[0], paced[0]
	default:
		t.Service, t.Paced = several.New(patient, at), several.New(paced, at)
	}
	return nil
}

// hubOf tells at which hub a device is, by its id: a template tells its index, and files are looked up in a table.
func (t *Target) hubOf() func(id string) (hub int, ok bool) {
	listed, first := make(map[string]int), 0
	for i := range t.sc.Fleet.Groups {
		g := &t.sc.Fleet.Groups[i]
		for k := range min(g.Count, len(g.Identity.Devices)) {
			listed[g.DeviceID(k)] = first + k
		}
		first += g.Count
	}
	return func(id string) (hub int, ok bool) {
		index, ok := listed[id]
		if !ok {
			index, ok = t.sc.IndexOf(id)
		}
		if !ok {
			return 0, false
		}
		return t.sc.HubOf(index), true
	}
}

// services makes the clients of a hub's service side: one that waits when the service throttles, and one that does not.
func services(c connstring.Service, base string, roots *x509.CertPool, dial link.Dialer) (patient, paced *service.Client, err error) {
	o := service.Options{ConnectionString: c, BaseURL: base, RootCAs: roots, Dial: dial, Retries: 5}
	if patient, err = service.New(o); err != nil {
		return nil, nil, err
	}
	o.Retries, o.Connections = 0, pacedConnections
	if paced, err = service.New(o); err != nil {
		return nil, nil, err
	}
	return patient, paced, nil
}

// pacedConnections are as many because direct methods hold one each while the device thinks.
const pacedConnections = 512

// open settles how devices reach a target of one address for each transport.
func (p *place) open(sc *scenario.Scenario, s *spec.Target, o *Options, dial link.Dialer) (err error) {
	if p.endpoint, err = s.EndpointOver(first(sc)); err != nil {
		return err
	}
	return p.transport(sc, o.Watch, dial, s.EndpointOver)
}

// transport settles what connections are made of: at is where devices are reached that speak a transport.
func (p *place) transport(sc *scenario.Scenario, watch func(link.Dialer) link.Dialer, dial link.Dialer,
	at func(spec.DeviceTransport) (spec.Endpoint, error),
) (err error) {
	var sources []net.IP
	for _, a := range sc.Fleet.SourceAddresses {
		sources = append(sources, net.ParseIP(a)) // all are addresses: it was validated
	}
	p.reach = func(addr string) link.Dialer {
		d := dial
		if d == nil {
			d = link.TCP(addr, sources...)
		}
		if watch != nil {
			d = watch(d)
		}
		return d
	}
	p.ways = make(map[spec.DeviceTransport]way)
	bare := make(map[string]link.Dialer) // by address: those with source addresses use them in turn
	spoken := []spec.DeviceTransport{first(sc)}
	for i := range sc.Fleet.Groups {
		spoken = append(spoken, sc.Fleet.Groups[i].Over())
	}
	for _, over := range spoken {
		if _, known := p.ways[over]; known {
			continue
		}
		x, err := at(over)
		if err != nil {
			return err
		}
		dial, secure := p.transportTo(x)
		if bare[x.Addr] == nil {
			bare[x.Addr] = dial
		}
		p.ways[over] = way{dial: bare[x.Addr], secure: secure, web: p.webOn(x)}
	}
	p.amqp, err = at(spec.AMQP)
	return err
}

// way is how devices reach a target that speak one transport.
type way struct {
	dial    link.Dialer                   // TCP, or what stands for it
	through func(link.Dialer) link.Dialer // what a proxy on the way is asked for; nil without one
	secure  func(link.Dialer) link.Dialer // what is spoken on it: TLS, WebSocket; nil for nothing
	web     func(link.Dialer) link.Dialer // of that, what is spoken on TLS, for devices with certificates; nil for nothing
}

// over opens connections on which all is spoken that lies below what devices say.
func (w *way) over() link.Dialer {
	dial := w.dial
	for _, layer := range []func(link.Dialer) link.Dialer{w.through, w.secure} {
		if layer != nil {
			dial = layer(dial)
		}
	}
	return dial
}

// webOn is the WebSocket of an endpoint; nil for none.
func (p *place) webOn(x spec.Endpoint) func(link.Dialer) link.Dialer {
	if x.Web == "" {
		return nil
	}
	return func(dial link.Dialer) link.Dialer {
		return link.WebSocketWith(dial, x.Web, x.Path, x.SubProtocol, p.web)
	}
}

// transportTo is what connections to an address are made of: the bare ones, and what is spoken on them; nil for nothing.
func (p *place) transportTo(x spec.Endpoint) (bare link.Dialer, secure func(link.Dialer) link.Dialer) {
	config := clientTLS(x.Host, p.roots)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	return p.reach(x.Addr), p.securely(x, config)
}

// securely is what is spoken on connections to an endpoint: TLS, of a configuration, and WebSocket; nil for nothing.
func (p *place) securely(x spec.Endpoint, config *tls.Config) func(link.Dialer) link.Dialer {
	if !x.TLS && x.Web == "" {
		return nil
	}
	web := p.webOn(x)
	return func(dial link.Dialer) link.Dialer {
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
