package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// identities are the devices of a run by index: how each proves who it is, and which of them this run made.
type identities struct {
	ids   []string
	keys  []iothub.Key
	certs []*tls.Certificate // nil for devices with keys
	made  []bool

	groups  []*scenario.Group     // by device index
	authors []*identity.Authority // by device index; nil where devices sign themselves or have keys
	create  []int                 // indexes of those that have to be made
}

// known tells the run's devices from others.
func (all *identities) known() func(id string) bool {
	ids := make(map[string]bool, len(all.ids))
	for _, id := range all.ids {
		ids[id] = true
	}
	return func(id string) bool { return ids[id] }
}

// identitiesOf lists a scenario's devices. An authority that the scenario does not name is made in memory.
func identitiesOf(sc *scenario.Scenario, memory *identity.Authority) *identities {
	n := sc.Devices()
	all := &identities{
		ids: make([]string, 0, n), keys: make([]iothub.Key, n), certs: make([]*tls.Certificate, n), made: make([]bool, n),
		groups: make([]*scenario.Group, n), authors: make([]*identity.Authority, n),
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		for k := range g.Count {
			index := len(all.ids)
			all.ids = append(all.ids, g.DeviceID(k))
			all.groups[index] = g
			d := &g.Identity
			if x := d.X509; x != nil && !x.Thumbprint {
				all.authors[index] = memory
				if x.Authority != nil {
					all.authors[index] = x.Authority
				}
			}
			if k < len(d.Devices) {
				all.keys[index] = d.Devices[k].Key
			}
			// The embedded hub starts empty: it is given also those that exist elsewhere.
			if d.Made() || sc.Target.Kind == scenario.Embedded {
				all.create = append(all.create, index)
			}
		}
	}
	return all
}

// device is the identity to make for one of the devices; it settles how the device proves who it is.
func (all *identities) device(index int) (identity.Device, error) {
	d, err := all.entry(index)
	if err == nil && all.authors[index] != nil {
		err = all.certify(index)
	}
	return d, err
}

// entry is the identity to make for one of the devices.
func (all *identities) entry(index int) (identity.Device, error) {
	id, d := all.ids[index], &all.groups[index].Identity
	out := identity.Device{ID: id, Auth: iothub.Authentication{Type: iothub.AuthSAS}}
	switch {
	case d.X509 != nil && d.X509.Thumbprint:
		cert, thumbprint, err := identity.SelfSigned(id)
		if err != nil {
			return out, err
		}
		all.certs[index] = &cert
		out.Auth = iothub.Authentication{Type: iothub.AuthSelfSigned, Thumbprint: iothub.Thumbprints{Primary: thumbprint}}
		out.Adopt = identity.AdoptNot
	case d.X509 != nil:
		out.Auth.Type, out.Adopt = iothub.AuthCertificateAuthority, identity.AdoptAsIs
	case !d.Key.IsZero():
		all.keys[index] = d.Key.Derive(id)
		out.Auth.SymmetricKey = iothub.SymmetricKeys{Primary: all.keys[index], Secondary: iothub.NewKey()}
		out.Adopt = identity.AdoptAsIs
	case d.File != "":
		out.Auth.SymmetricKey = iothub.SymmetricKeys{Primary: all.keys[index], Secondary: iothub.NewKey()}
		out.Adopt = identity.AdoptAsIs
	default:
		out.Auth.SymmetricKey = iothub.SymmetricKeys{Primary: iothub.NewKey(), Secondary: iothub.NewKey()}
	}
	return out, nil
}

// certify signs the certificate of a device.
func (all *identities) certify(index int) error {
	cert, err := all.authors[index].Device(all.ids[index])
	if err == nil {
		all.certs[index] = &cert
	}
	return err
}

// provision makes the identities that have to be made, in bulk, and keeps what they prove themselves with. A
// device that is there already is used with its own key.
func (all *identities) provision(ctx context.Context, p *identity.Provisioner) error {
	build := func(first, last int) ([]identity.Device, error) {
		devices := make([]identity.Device, 0, last-first)
		for _, index := range all.create[first:last] {
			d, err := all.device(index)
			if err != nil {
				return nil, err
			}
			devices = append(devices, d)
		}
		return devices, nil
	}
	return p.Make(ctx, len(all.create), build, func(first int, devices []identity.Device, states []identity.State) error {
		for i, d := range devices {
			index := all.create[first+i]
			all.made[index] = states[i] == identity.Made
			if d.Auth.Type == iothub.AuthSAS {
				all.keys[index] = d.Auth.SymmetricKey.Primary
			}
		}
		return nil
	})
}

// mine are the ids of the identities that this run made.
func (all *identities) mine() []string {
	var ids []string
	for i, made := range all.made {
		if made {
			ids = append(ids, all.ids[i])
		}
	}
	return ids
}

// measured gives the bulk calls of a registry to a series.
type measured struct {
	identity.Registry
	series *metrics.Series
}

func (m measured) Bulk(ctx context.Context, entries []iothub.BulkEntry) (iothub.BulkResult, error) {
	return worker.Measure(ctx, m.series, time.Now(), func(ctx context.Context) (iothub.BulkResult, error) { return m.Registry.Bulk(ctx, entries) })
}

// provision makes the run's identities.
func (e *Engine) provision(ctx context.Context) error {
	e.ids = identitiesOf(e.sc, e.target.authority)
	if e.target.service == nil {
		return nil
	}
	e.target.keys, e.target.certs = e.ids.keys, e.ids.certs
	began := time.Now()
	last := 0
	err := e.ids.provision(ctx, &identity.Provisioner{
		Registry: measured{e.target.paced, e.rec.Series(metrics.OpProvision, "")}, Stop: e.soft.Done(),
		Progress: func(p identity.Progress) {
			last = p.Done
			e.emit(Event{Kind: EventProvision, OK: true, Text: "identities made" + p.Hindrance(), Done: p.Done, Total: p.Total})
		},
	})
	if errors.Is(err, identity.ErrStopped) || ctx.Err() != nil {
		return nil // it was asked to end; what was made will be removed if there is time
	}
	if err == nil && last > 0 {
		e.emit(Event{Kind: EventProvision, OK: true, Text: "identities made", Done: last, Total: last, Detail: report.Duration(time.Since(began))})
	}
	return withRemedy(err)
}

// deprovision removes the identities that this run made, unless they are kept or go with the hub.
func (e *Engine) deprovision(ctx context.Context) error {
	if e.ids == nil || e.target.service == nil || e.sc.Target.Keep || e.sc.Target.Kind == scenario.Embedded || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deprovisionGrace)
	defer cancel()
	mine := e.ids.mine()
	p := &identity.Provisioner{Registry: e.target.paced, Progress: func(p identity.Progress) {
		e.emit(Event{Kind: EventProvision, OK: true, Text: "identities removed" + p.Hindrance(), Done: p.Done, Total: p.Total})
	}}
	if err := p.Remove(ctx, mine, nil); err != nil {
		return fmt.Errorf("%w; twinfleet deprovision removes the rest", withRemedy(err))
	}
	return nil
}
