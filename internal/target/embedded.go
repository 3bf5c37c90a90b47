package target

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report/human"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	dpsfaults "github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/dps/limits"
	"github.com/twinfleet/twinfleet/internal/hub/faults"
	"github.com/twinfleet/twinfleet/internal/hub/hubmetrics"
	"github.com/twinfleet/twinfleet/internal/hub/querylag"
	"github.com/twinfleet/twinfleet/internal/hub/servicetime"
	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// openEmbedded starts the embedded hub.
func (t *Target) openEmbedded(ctx context.Context, o *Options) error {
	s := &t.sc.Target
	lag, err := querylag.Parse(s.QueryLag, t.sc.Seed)
	if err != nil {
		return err
	}
	authorities, err := t.authorities()
	if err != nil {
		return err
	}
	memory := o.Memory || s.Transport == spec.Memory
	if memory && !o.Memory {
		t.Note = "devices reach the hub in memory: no socket and no kernel is in their figures"
	}
	options := hub.Options{
		Logger: o.Logger, Tier: s.Tier, Units: s.Units, QueryLag: lag, Shape: Shape(s), ClientCAs: authorities, NoPort: memory,
	}
	if t.sc.Provisions() {
		options.DPS = &dps.Options{}
	}
	h, err := hub.Open(ctx, options)
	if err != nil {
		return err
	}
	t.Name = t.Can.Name
	if s.Tier != "" {
		t.Name += fmt.Sprintf(" (%s, %s)", s.Tier, human.Number(s.Units, "unit"))
	}
	p := &place{host: "localhost", certTLS: clientTLS("localhost", h.CAPool())}
	t.Faults, t.close = switches{h, h.Faults()}, h.Close
	t.arm = func(context.Context) error {
		h.Arm()
		return nil
	}
	if s.Trial != nil {
		t.onTrial(h, s.Trial)
	}
	addr, dial := h.Addr(), link.Dialer(nil)
	if memory {
		addr, dial = p.host, h.Dial
	}
	if t.Service, t.Paced, err = services(h.ConnectionString("iothubowner"), "http://"+addr, nil, dial); err != nil {
		return errors.Join(err, h.Close())
	}
	t.service = h.ConnectionString("iothubowner")
	if t.sc.Provisions() {
		if err := t.enroll(ctx, h, "http://"+addr, dial); err != nil {
			return errors.Join(err, h.Close())
		}
	}
	if p.endpoint, err = s.EndpointOver(first(t.sc)); err != nil {
		return errors.Join(err, h.Close())
	}
	at := spec.Endpoint{Host: p.host, Addr: addr} // one for all
	if err := p.transport(t.sc, o.Watch, dial, func(over spec.DeviceTransport) (spec.Endpoint, error) { return at.Over(over), nil }); err != nil {
		return errors.Join(err, h.Close())
	}
	t.places = []*place{p}
	if o.Recorder != nil {
		hubmetrics.Register(o.Recorder, h)
	}
	return nil
}

// switches are the faults of the embedded hub.
type switches struct {
	hub *hub.Hub
	*faults.Switch
}

func (s switches) Restart(d time.Duration) { s.hub.Restart(d) }

func (s switches) Serve(m *scenario.ServiceModel, seed uint64) {
	if m == nil {
		s.Switch.Serve(nil)
		return
	}
	s.Switch.Serve(&servicetime.Model{Servers: m.Servers, Time: m.Time, Exponential: m.Distribution == "exponential", Seed: seed})
}

// Provision has no effect on a hub without a provisioning service.
func (s switches) Provision(m *scenario.DPSFault) {
	service := s.hub.DPS()
	switch {
	case service == nil:
	case m == nil:
		service.Faults().Set(dpsfaults.Faults{})
		service.Limit(limits.Limits{})
	default:
		service.Faults().Set(dpsfaults.Faults{Fail: m.Fail, Slow: m.Delay})
		service.Limit(limits.Limits{Registrations: m.Registrations, Polls: m.Polls})
	}
}

// authorities are those that signed certificates of devices, for the embedded hub to trust. One that the scenario does not name
// is made in memory.
func (t *Target) authorities() (all []*x509.Certificate, err error) {
	for i := range t.sc.Fleet.Groups {
		x := t.sc.Fleet.Groups[i].Identity.Certificates()
		switch {
		case x == nil || x.Thumbprint:
		case x.Authority != nil:
			all = append(all, x.Authority.Leaf)
		case t.authority == nil:
			if t.authority, err = authority.New(); err != nil {
				return nil, err
			}
			all = append(all, t.authority.Certificate())
		}
	}
	return all, nil
}
