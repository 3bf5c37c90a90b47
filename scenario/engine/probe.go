package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// ErrNothingToProbe is returned for the embedded hub: it is not there before the run.
var ErrNothingToProbe = errors.New("the embedded hub runs in the run's own process")

// Probe asks a target what can be asked without loading it. Nothing that it does changes the target.
type Probe struct {
	t  *target
	sc *scenario.Scenario
}

// NewProbe makes a Probe of a scenario's target; it opens no connection yet.
func NewProbe(ctx context.Context, sc *scenario.Scenario) (*Probe, error) {
	if sc.Target.Kind == scenario.Embedded {
		return nil, ErrNothingToProbe
	}
	e := New(Options{Scenario: sc, Recorder: metrics.NewRecorder(metrics.Options{})})
	var err error
	if e.self, err = newSelf(nil, sc); err != nil {
		return nil, err
	}
	t, err := e.openTarget(ctx)
	if err != nil {
		return nil, err
	}
	return &Probe{t, sc}, nil
}

// Address is where devices connect to, host:port.
func (p *Probe) Address() string { return p.t.addr }

// Resolve finds the addresses of the target's name.
func (p *Probe) Resolve(ctx context.Context) ([]string, error) {
	name, _, err := net.SplitHostPort(p.t.addr)
	if err != nil {
		return nil, err
	}
	return net.DefaultResolver.LookupHost(ctx, name)
}

// Dial opens a TCP connection as devices do, and closes it.
func (p *Probe) Dial(ctx context.Context) error { return p.dial(ctx, p.t.dial) }

// Handshake opens all that lies below MQTT, TLS and WebSocket, as devices do, and closes it.
func (p *Probe) Handshake(ctx context.Context) error {
	dial := p.t.dial
	if p.t.secure != nil {
		dial = p.t.secure(dial)
	}
	return p.dial(ctx, dial)
}

func (p *Probe) dial(ctx context.Context, dial link.Dialer) error {
	nc, err := dial(ctx)
	if err != nil {
		return err
	}
	return nc.Close()
}

// Secure reports whether devices speak TLS.
func (p *Probe) Secure() bool { return p.t.tls }

// Identities reads how many identities the hub has, with the credentials of the service side. A broker has none
// and is asked for a connection instead, as the first device.
func (p *Probe) Identities(ctx context.Context) (int, error) {
	if p.t.service != nil {
		s, err := p.t.paced.Statistics(ctx)
		return s.Total, err
	}
	o := p.t.Link(0, p.sc.Fleet.Groups[0].DeviceID(0))
	o.Handler, o.Lost, o.KeepAlive = func(link.Message) {}, func(error) {}, time.Minute
	conn, err := paho.New().Connect(ctx, o)
	if err != nil {
		return 0, err
	}
	conn.Close()
	return 0, nil
}

// Clock reads the target's time from an answer over HTTP; ok is false when it tells none, as brokers do.
func (p *Probe) Clock(ctx context.Context) (at time.Time, ok bool, err error) {
	if p.t.service == nil {
		return time.Time{}, false, nil
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.t.certTLS.RootCAs, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, p.t.paced.BaseURL()+"/", nil)
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
func (p *Probe) Close() error { return p.t.close() }
