package target

import (
	"context"
	"crypto/tls"
	"slices"

	"github.com/twinfleet/twinfleet/internal/identity"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/scenario"
)

// Identities are the devices of a scenario by index: how each proves who it is, and which of them this run made.
type Identities struct {
	IDs   []string
	keys  []iothub.Key
	certs []*tls.Certificate // nil for devices with keys
	made  []bool

	groups  []*scenario.Group     // by device index
	authors []*identity.Authority // by device index; nil where devices sign themselves or have keys
	Create  []int                 // indexes of those that have to be made
}

// Known tells the scenario's devices from others.
func (all *Identities) Known() func(id string) bool {
	ids := make(map[string]bool, len(all.IDs))
	for _, id := range all.IDs {
		ids[id] = true
	}
	return func(id string) bool { return ids[id] }
}

// NewIdentities lists a scenario's devices. memory is the authority of those for whom the scenario names none.
func NewIdentities(sc *scenario.Scenario, memory *identity.Authority) *Identities {
	n := sc.Devices()
	all := &Identities{
		IDs: make([]string, 0, n), keys: make([]iothub.Key, n), certs: make([]*tls.Certificate, n), made: make([]bool, n),
		groups: make([]*scenario.Group, n), authors: make([]*identity.Authority, n),
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		for k := range g.Count {
			index := len(all.IDs)
			all.IDs = append(all.IDs, g.DeviceID(k))
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
			if d.Made() || sc.Target.Can().InProcess {
				all.Create = append(all.Create, index)
			}
		}
	}
	return all
}

// device is the identity to make for one of the devices; it settles how the device proves who it is.
func (all *Identities) device(index int) (identity.Device, error) {
	d, err := all.Entry(index)
	if err == nil && all.authors[index] != nil {
		err = all.certify(index)
	}
	return d, err
}

// Entry is the identity to make for one of the devices.
func (all *Identities) Entry(index int) (identity.Device, error) {
	id, d := all.IDs[index], &all.groups[index].Identity
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
func (all *Identities) certify(index int) error {
	cert, err := all.authors[index].Device(all.IDs[index])
	if err == nil {
		all.certs[index] = &cert
	}
	return err
}

// Provision makes the identities that have to be made, in bulk, and keeps what they prove themselves with. A
// device that is there already is used with its own key.
func (all *Identities) Provision(ctx context.Context, p *identity.Provisioner) error {
	build := func(first, last int) ([]identity.Device, error) {
		devices := make([]identity.Device, 0, last-first)
		for _, index := range all.Create[first:last] {
			d, err := all.device(index)
			if err != nil {
				return nil, err
			}
			devices = append(devices, d)
		}
		return devices, nil
	}
	return p.Make(ctx, len(all.Create), build, func(first int, devices []identity.Device, states []identity.State) error {
		for i, d := range devices {
			index := all.Create[first+i]
			all.made[index] = states[i] == identity.Made
			if d.Auth.Type == iothub.AuthSAS {
				all.keys[index] = d.Auth.SymmetricKey.Primary
			}
		}
		return nil
	})
}

// Mine are the ids of the identities that Provision made.
func (all *Identities) Mine() []string {
	var ids []string
	for i, made := range all.made {
		if made {
			ids = append(ids, all.IDs[i])
		}
	}
	return ids
}

// Made reports whether Provision made a device's identity: it was not there before.
func (all *Identities) Made(index int) bool { return all.made[index] }

// Identities lists the scenario's devices, for which this target's own authority signs where the scenario names none. From
// now on devices prove who they are with them, as soon as they are provisioned.
func (t *Target) Identities() *Identities {
	t.devices = NewIdentities(t.sc, t.authority)
	return t.devices
}

// First is the index of a group's first device.
func (all *Identities) First(g *scenario.Group) int {
	return slices.Index(all.groups, g)
}

// Of are the ids of a group's devices.
func (all *Identities) Of(g *scenario.Group) []string {
	if g.Count == 0 {
		return nil
	}
	first := all.First(g)
	return all.IDs[first : first+g.Count]
}
