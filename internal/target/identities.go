package target

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/internal/identity/provision"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/scenario"
)

// Identities are the devices of a scenario by index: how each proves who it is, and which of them this run made.
type Identities struct {
	IDs   []string // of all devices, by index in the fleet
	keys  []sas.Key
	certs []*tls.Certificate // nil for devices with keys
	made  []bool
	here  *imported // of identities that were imported, which have no keys, certs, made, groups and authors; nil for all others
	sc    *scenario.Scenario

	groups     []*scenario.Group           // by device index
	enrollment map[*scenario.Group]sas.Key // of groups that have one
	authors    []*authority.Authority      // by device index; nil where devices sign themselves or have keys
	Create     []int                       // indexes of those that have to be made
	Assigned   []int                       // indexes of those that a provisioning service makes
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
func NewIdentities(sc *scenario.Scenario, memory *authority.Authority) (*Identities, error) {
	n := sc.Devices()
	all := &Identities{
		sc: sc, IDs: make([]string, 0, n), keys: make([]sas.Key, n), certs: make([]*tls.Certificate, n), made: make([]bool, n),
		groups: make([]*scenario.Group, n), enrollment: make(map[*scenario.Group]sas.Key), authors: make([]*authority.Authority, n),
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		d := &g.Identity
		author, err := authorOf(d.Certificates(), memory)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		key := d.Key
		if d.DPS != nil {
			key = d.DPS.Key
		}
		if !key.IsZero() {
			if all.enrollment[g], err = sas.ParseKey(key.Reveal()); err != nil {
				return nil, fmt.Errorf("group %s: %w", g.Name, err)
			}
		}
		for k := range g.Count {
			index := len(all.IDs)
			all.IDs = append(all.IDs, g.DeviceID(k))
			all.groups[index], all.authors[index] = g, author
			if k < len(d.Devices) {
				if all.keys[index], err = sas.ParseKey(d.Devices[k].Key.Reveal()); err != nil {
					return nil, fmt.Errorf("device %s: %w", d.Devices[k].DeviceID, err)
				}
			}
			switch {
			case sc.Creates(g):
				all.Create = append(all.Create, index)
			case d.DPS != nil:
				all.Assigned = append(all.Assigned, index)
				if group := all.enrollment[g]; !group.IsZero() {
					all.keys[index] = dps.DeriveKey(group, all.IDs[index])
				}
			}
		}
	}
	if sc.Target.Several() {
		all.Create = inTurn(sc, all.Create)
	}
	return all, nil
}

// inTurn orders indexes of devices so that a call of the registry's largest size has those of one hub, and the next those of the next.
func inTurn(sc *scenario.Scenario, indexes []int) []int {
	hubs := make([][]int, len(sc.Target.Hubs))
	for _, index := range indexes {
		hub := sc.HubOf(index)
		hubs[hub] = append(hubs[hub], index)
	}
	out := make([]int, 0, len(indexes))
	for len(out) < len(indexes) {
		for i, rest := range hubs {
			n := min(len(rest), registry.MaxBulk)
			out, hubs[i] = append(out, rest[:n]...), rest[n:]
		}
	}
	return out
}

// proof is what a device proves itself with: a certificate, or else a key.
type proof struct {
	key   sas.Key
	cert  *tls.Certificate // nil for one with a key
	login *scenario.Login  // of a broker's device that another process has told of; nil for all others
}

// proof of the device of an index; empty of one that is not provisioned, or not imported.
func (all *Identities) proof(index int) proof {
	if all.here != nil {
		return all.here.proof(index)
	}
	return proof{key: all.keys[index], cert: all.certs[index]}
}

// authorOf is who signs the certificates of a group; nil when nobody does, or they do themselves.
func authorOf(x *scenario.X509, memory *authority.Authority) (*authority.Authority, error) {
	switch {
	case x == nil || x.Thumbprint:
		return nil, nil
	case x.Authority == nil:
		return memory, nil
	default:
		return authority.Of(x.Authority)
	}
}

// device is the identity to make for one of the devices; it settles how the device proves who it is.
func (all *Identities) device(index int) (provision.Device, error) {
	d, err := all.Entry(index)
	if err == nil && all.authors[index] != nil {
		err = all.certify(index)
	}
	return d, err
}

// Entry is the identity to make for one of the devices.
func (all *Identities) Entry(index int) (provision.Device, error) {
	id, d := all.IDs[index], &all.groups[index].Identity
	out := provision.Device{ID: id, Auth: registry.Authentication{Type: registry.AuthSAS}}
	switch {
	case d.X509 != nil && d.X509.Thumbprint:
		cert, thumbprint, err := authority.SelfSigned(id)
		if err != nil {
			return out, err
		}
		all.certs[index] = &cert
		out.Auth = registry.Authentication{Type: registry.AuthSelfSigned, Thumbprint: registry.Thumbprints{Primary: thumbprint}}
		out.Adopt = provision.AdoptNot
	case d.X509 != nil:
		out.Auth.Type, out.Adopt = registry.AuthCertificateAuthority, provision.AdoptAsIs
	case !d.Key.IsZero():
		all.keys[index] = all.enrollment[all.groups[index]].Derive(id)
		out.Auth.SymmetricKey = registry.SymmetricKeys{Primary: all.keys[index], Secondary: sas.NewKey()}
		out.Adopt = provision.AdoptAsIs
	case d.File != "":
		out.Auth.SymmetricKey = registry.SymmetricKeys{Primary: all.keys[index], Secondary: sas.NewKey()}
		out.Adopt = provision.AdoptAsIs
	default:
		out.Auth.SymmetricKey = registry.SymmetricKeys{Primary: sas.NewKey(), Secondary: sas.NewKey()}
	}
	return out, nil
}

// certified reports whether an authority signs the device's certificate, or has.
func (all *Identities) certified(index int) bool {
	if all.here != nil {
		return all.here.proof(index).cert != nil
	}
	return all.authors[index] != nil
}

// certify signs the certificate of a device.
func (all *Identities) certify(index int) error {
	g := all.groups[index]
	cert, err := all.authors[index].Device(g.CommonName(index - all.First(g)))
	if err == nil {
		all.certs[index] = &cert
	}
	return err
}

// Provision makes the identities that have to be made, in bulk, and keeps what they prove themselves with. A
// device that is there already is used with its own key.
func (all *Identities) Provision(ctx context.Context, p *provision.Provisioner) error {
	build := func(first, last int) ([]provision.Device, error) {
		devices := make([]provision.Device, 0, last-first)
		for _, index := range all.Create[first:last] {
			d, err := all.device(index)
			if err != nil {
				return nil, err
			}
			devices = append(devices, d)
		}
		return devices, nil
	}
	return p.Make(ctx, len(all.Create), build, func(first int, devices []provision.Device, states []provision.State) error {
		for i, d := range devices {
			index := all.Create[first+i]
			all.made[index] = states[i] == provision.Made
			if d.Auth.Type == registry.AuthSAS {
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

// Took notes which identities the run has made that this process took over.
func (all *Identities) Took(made func(index int) bool) {
	for i := range all.made {
		all.made[i] = made(i)
	}
}

// Made reports whether Provision made a device's identity: it was not there before. Of identities that were imported it is nobody's.
func (all *Identities) Made(index int) bool { return all.here == nil && all.made[index] }

// Use has devices prove who they are with identities that were imported.
func (t *Target) Use(all *Identities) { t.devices = all }

// Identities lists the scenario's devices, for which this target's own authority signs where the scenario names none. From
// now on devices prove who they are with them, as soon as they are provisioned.
func (t *Target) Identities() (*Identities, error) {
	var err error
	t.devices, err = NewIdentities(t.sc, t.authority)
	if err != nil || t.groupKey.IsZero() {
		return t.devices, err
	}
	for _, index := range t.devices.Assigned {
		if t.devices.keys[index].IsZero() {
			t.devices.keys[index] = dps.DeriveKey(t.groupKey, t.devices.IDs[index])
		}
	}
	return t.devices, nil
}

// First is the index of a group's first device.
func (all *Identities) First(g *scenario.Group) int {
	first := 0
	for i := range all.sc.Fleet.Groups {
		if x := &all.sc.Fleet.Groups[i]; x == g {
			return first
		}
		first += all.sc.Fleet.Groups[i].Count
	}
	return -1
}

// Of are the ids of a group's devices.
func (all *Identities) Of(g *scenario.Group) []string {
	if g.Count == 0 {
		return nil
	}
	first := all.First(g)
	return all.IDs[first : first+g.Count]
}
