// Package probe asks a target what can be asked without loading it.
package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/fleet/redirect"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// ErrNothingToProbe is returned for the embedded hub: it is not there before the run.
var ErrNothingToProbe = errors.New("the embedded hub runs in the run's own process")

// Probe asks a target, each of several hubs. Nothing that it does changes the target.
type Probe struct {
	of []*target.Target // of one hub each
	sc *scenario.Scenario

	redirected string // Redirected
}

// New makes a Probe of a scenario's target; it opens no connection yet.
func New(ctx context.Context, sc *scenario.Scenario) (*Probe, error) {
	if sc.Target.Can().InProcess {
		return nil, ErrNothingToProbe
	}
	p := &Probe{sc: sc}
	for _, each := range sc.Target.Each() {
		one := *sc
		one.Target = each
		t, err := target.Open(ctx, target.Options{Scenario: &one})
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.of = append(p.of, t)
		if t.Can.Topics { // the first device shows its certificate
			if _, err := t.Identities(); err != nil {
				return nil, errors.Join(err, p.Close())
			}
		}
	}
	return p, nil
}

// Address is where devices connect to, host:port; of several hubs all of them, with commas.
func (p *Probe) Address() string {
	var all []string
	for _, t := range p.of {
		all = append(all, t.Endpoint().Addr)
	}
	return strings.Join(all, ", ")
}

// each asks one hub after the other. Its error says which of several failed.
func (p *Probe) each(ask func(t *target.Target) error) error {
	for _, t := range p.of {
		switch err := ask(t); {
		case err == nil:
		case len(p.of) > 1:
			return fmt.Errorf("%s: %w", t.Endpoint().Addr, err)
		default:
			return err
		}
	}
	return nil
}

// Resolve finds the addresses of the target's name.
func (p *Probe) Resolve(ctx context.Context) (all []string, err error) {
	err = p.each(func(t *target.Target) error {
		host := t.Endpoint().Host
		if u := p.sc.Target.Through(); u != nil { // which resolves the target's
			host = u.Hostname()
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		all = append(all, found...)
		return err
	})
	return all, err
}

// Dial opens a TCP connection as devices do, and closes it.
func (p *Probe) Dial(ctx context.Context) error {
	return p.each(func(t *target.Target) error { return p.dial(ctx, t.Dialer(true)) })
}

// Proxy is the one on the way to the target, host:port; empty for none.
func (p *Probe) Proxy() string {
	if u := p.sc.Target.Through(); u != nil {
		return u.Host
	}
	return ""
}

// Through has the proxy open a connection to the target, as devices do, and closes it.
func (p *Probe) Through(ctx context.Context) error {
	return p.each(func(t *target.Target) error { return p.dial(ctx, t.Connecting()) })
}

// Handshake opens all that lies below MQTT, TLS and WebSocket, as devices do, and closes it. Of a broker it says which TLS was agreed on; a broker
// that wants a certificate is shown that of the first device.
func (p *Probe) Handshake(ctx context.Context) (agreed string, err error) {
	err = p.each(func(t *target.Target) error {
		if !t.Can.Topics {
			return p.dial(ctx, t.Dialer(false))
		}
		nc, err := t.Link(0, p.sc.Fleet.Groups[0].DeviceID(0)).Dial(ctx)
		if err != nil {
			return err
		}
		agreed = agreement(nc)
		return nc.Close()
	})
	return agreed, err
}

// agreement is the TLS of a connection, in words; empty for none.
func agreement(nc net.Conn) string {
	for {
		if secure, ok := nc.(*tls.Conn); ok {
			state := secure.ConnectionState()
			text := tls.VersionName(state.Version)
			if state.NegotiatedProtocol != "" {
				text += ", ALPN " + state.NegotiatedProtocol
			}
			return text
		}
		upper, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return ""
		}
		nc = upper.NetConn()
	}
}

// Unchecked reports whether the target's certificate is not checked.
func (p *Probe) Unchecked() bool { return p.sc.Target.TLS.Insecure }

// Version is that of MQTT which devices of a broker speak; empty for another target.
func (p *Probe) Version() string {
	if !p.of[0].Can.Topics {
		return ""
	}
	return cmp.Or(p.sc.Target.MQTT, spec.MQTT311)
}

func (p *Probe) dial(ctx context.Context, dial link.Dialer) error {
	nc, err := dial(ctx)
	if err != nil {
		return err
	}
	return nc.Close()
}

// Secure reports whether devices speak TLS.
func (p *Probe) Secure() bool { return p.of[0].Endpoint().TLS }

// Identities reads how many identities the hub has, with the credentials of the service side. A broker has none
// and is asked for a connection instead, as the first device.
func (p *Probe) Identities(ctx context.Context) (int, error) {
	if p.of[0].Can.Service {
		total := 0
		err := p.each(func(t *target.Target) error {
			s, err := t.Paced.Statistics(ctx)
			total += s.Total
			return err
		})
		return total, err
	}
	id := p.sc.Fleet.Groups[0].DeviceID(0)
	o := p.of[0].Link(0, id)
	name := p.sc.Fleet.Client
	switch {
	case name != scenario.AnyClient:
	case p.sc.Target.V5():
		name = "lean"
	default:
		name = drivers.Default
	}
	driver, err := drivers.New(name)
	if err != nil {
		return 0, err
	}
	way := redirect.Way{
		To: func(reference string) (redirect.Place, error) {
			o, server, err := p.of[0].Redirected(0, id, reference)
			return redirect.Place{Reference: reference, Server: server, Options: o}, err
		},
		Connect: func(o link.Options) (link.Conn, error) {
			o.Handler, o.KeepAlive = func(link.Message) {}, time.Minute
			if p.sc.Target.V5() {
				o.Version = link.V5
			}
			return driver.Connect(ctx, o)
		},
	}
	var conn link.Conn
	if p.sc.Target.Redirect == spec.Follow {
		var at redirect.Place
		conn, at, err = way.Follow(redirect.Place{Options: o})
		p.redirected = at.Server
	} else {
		conn, err = way.Connect(o)
	}
	if err != nil {
		return 0, err
	}
	return 0, leave(conn)
}

// Redirected is to which server, host:port, the broker sent the device that Identities asked it with; empty for none.
func (p *Probe) Redirected() string { return p.redirected }

// leave ends a connection.
func leave(conn link.Conn) error {
	over := make(chan error, 1)
	conn.Serve(func(err error) { over <- err })
	conn.Close()
	return <-over
}

// Clock reads the target's time from an answer over HTTP, of several hubs that of the one that is furthest from this machine's; ok is false when
// it tells none, as brokers do.
func (p *Probe) Clock(ctx context.Context) (at time.Time, ok bool, err error) {
	if !p.of[0].Can.Service {
		return time.Time{}, false, nil
	}
	furthest := time.Duration(-1)
	err = p.each(func(t *target.Target) error {
		says, told, err := clock(ctx, t)
		if off := time.Until(says).Abs(); err == nil && told && off > furthest {
			at, ok, furthest = says, true, off
		}
		return err
	})
	return at, ok && err == nil, err
}

// clock reads the time of one hub.
func clock(ctx context.Context, t *target.Target) (at time.Time, ok bool, err error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: t.Roots(), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, t.Paced.BaseURL()+"/", nil)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("asking for the time: %w", err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("asking for the time: %w", err)
	}
	resp.Body.Close()
	at, err = http.ParseTime(resp.Header.Get("Date"))
	return at, err == nil, nil
}

// Close closes what the Probe holds.
func (p *Probe) Close() error {
	var errs []error
	for _, t := range p.of {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}
