// Package probe asks a target what can be asked without loading it.
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/scenario"
)

// ErrNothingToProbe is returned for the embedded hub: it is not there before the run.
var ErrNothingToProbe = errors.New("the embedded hub runs in the run's own process")

// Probe asks a target. Nothing that it does changes the target.
type Probe struct {
	t  *target.Target
	sc *scenario.Scenario
}

// New makes a Probe of a scenario's target; it opens no connection yet.
func New(ctx context.Context, sc *scenario.Scenario) (*Probe, error) {
	if sc.Target.Can().InProcess {
		return nil, ErrNothingToProbe
	}
	t, err := target.Open(ctx, target.Options{Scenario: sc})
	if err != nil {
		return nil, err
	}
	return &Probe{t, sc}, nil
}

// Address is where devices connect to, host:port.
func (p *Probe) Address() string { return p.t.Endpoint().Addr }

// Resolve finds the addresses of the target's name.
func (p *Probe) Resolve(ctx context.Context) ([]string, error) {
	return net.DefaultResolver.LookupHost(ctx, p.t.Endpoint().Host)
}

// Dial opens a TCP connection as devices do, and closes it.
func (p *Probe) Dial(ctx context.Context) error { return p.dial(ctx, p.t.Dialer(true)) }

// Handshake opens all that lies below MQTT, TLS and WebSocket, as devices do, and closes it.
func (p *Probe) Handshake(ctx context.Context) error {
	return p.dial(ctx, p.t.Dialer(false))
}

func (p *Probe) dial(ctx context.Context, dial link.Dialer) error {
	nc, err := dial(ctx)
	if err != nil {
		return err
	}
	return nc.Close()
}

// Secure reports whether devices speak TLS.
func (p *Probe) Secure() bool { return p.t.Endpoint().TLS }

// Identities reads how many identities the hub has, with the credentials of the service side. A broker has none
// and is asked for a connection instead, as the first device.
func (p *Probe) Identities(ctx context.Context) (int, error) {
	if p.t.Can.Service {
		s, err := p.t.Paced.Statistics(ctx)
		return s.Total, err
	}
	o := p.t.Link(0, p.sc.Fleet.Groups[0].DeviceID(0))
	o.Handler, o.KeepAlive = func(link.Message) {}, time.Minute
	name := p.sc.Fleet.Client
	if name == scenario.AnyClient {
		name = drivers.Default
	}
	driver, err := drivers.New(name)
	if err != nil {
		return 0, err
	}
	conn, err := driver.Connect(ctx, o)
	if err != nil {
		return 0, err
	}
	over := make(chan error, 1)
	conn.Serve(func(err error) { over <- err })
	conn.Close()
	return 0, <-over
}

// Clock reads the target's time from an answer over HTTP; ok is false when it tells none, as brokers do.
func (p *Probe) Clock(ctx context.Context) (at time.Time, ok bool, err error) {
	if !p.t.Can.Service {
		return time.Time{}, false, nil
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.t.Roots(), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, p.t.Paced.BaseURL()+"/", nil)
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
func (p *Probe) Close() error { return p.t.Close() }
