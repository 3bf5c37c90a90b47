// Package identity is how devices get to be known by a hub: it makes and removes identities in bulk, at the
// pace that the service allows, reads files of device connection strings, and signs certificates.
package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// Registry is the service side of identities. Its calls are not retried: a Provisioner paces itself.
type Registry interface {
	Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error)
	Device(ctx context.Context, id string) (registry.Identity, error)
}

// ErrStopped is returned when Provisioner.Stop was closed before all was done.
var ErrStopped = errors.New("stopped before all identities were done")

// ErrRefused is returned for an identity that the registry would not make or remove, or that is another's.
var ErrRefused = errors.New("identity refused")

// Adopt says what to do about an identity that is there already.
type Adopt uint8

// The ways to adopt.
const (
	AdoptKey  Adopt = iota // use it with the key that it has, which is read
	AdoptAsIs              // use it: it is what would have been made, as far as anyone can tell
	AdoptNot               // it is another's: refuse
)

// Device is an identity to make.
type Device struct {
	ID    string                  // as the registry holds it
	Auth  registry.Authentication // key or certificate; the registry holds it
	Adopt Adopt                   // what becomes of an identity that is there already
}

// State is what became of a device.
type State uint8

// The states of a device.
const (
	Untouched State = iota // not done yet
	Made
	Existed // it was there already and is used
	Removed
	Missing // there was none to remove
)

// Progress is how far a Provisioner has come.
type Progress struct {
	Done, Total int // devices, of Total
	// Throttled says that the service sheds the calls: the Provisioner waits and goes on.
	Throttled bool
	// Silent is for how long the service has answered nothing, when that is longer than usual; else 0.
	Silent time.Duration
}

// Hindrance is what the service is waited for, to follow a count; empty for nothing.
func (p Progress) Hindrance() string {
	switch {
	case p.Throttled:
		return " (the registry throttles; waiting)"
	case p.Silent > 0:
		return fmt.Sprintf(" (the registry has not answered for %s; waiting)", p.Silent)
	}
	return ""
}

// Provisioner makes and removes identities.
type Provisioner struct {
	Registry Registry // required
	// Stop ends the work politely when it is closed: calls under way are waited for, but for no longer than
	// three seconds. nil never does.
	Stop <-chan struct{}
	// Progress, which may be nil, is told how far it is, one at a time. It must be quick.
	Progress func(Progress)
}

// Make makes identities in bulk. build gives those with the indexes from first to before last, and may take its
// time: it is called from several goroutines. done, which may be nil, is told when they are there, from one
// goroutine at a time: their states, and keys of those that were adopted with AdoptKey. The calls are repeatable: a Make that
// was interrupted is resumed by another.
func (p *Provisioner) Make(ctx context.Context, n int, build func(first, last int) ([]Device, error),
	done func(first int, devices []Device, states []State) error,
) error {
	return p.run(ctx, n, func(ctx context.Context, w *work, first, last int) error {
		devices, err := build(first, last)
		if err != nil {
			return err
		}
		entries := make([]registry.BulkEntry, len(devices))
		for i, d := range devices {
			entries[i] = registry.BulkEntry{ID: d.ID, ImportMode: registry.ImportCreate, Status: registry.StatusEnabled, Authentication: &devices[i].Auth}
		}
		failed, err := w.bulk(ctx, entries)
		if err != nil {
			return fmt.Errorf("creating identities %s to %s: %w", devices[0].ID, devices[len(devices)-1].ID, err)
		}
		states := make([]State, len(devices))
		for i := range devices {
			e, bad := failed[devices[i].ID]
			switch {
			case !bad:
				states[i] = Made
			case e.ErrorCode == iothub.ErrDeviceExists.Code:
				if states[i], err = w.adopt(ctx, &devices[i]); err != nil {
					return err
				}
			default:
				return fmt.Errorf("%w: creating %s: error %d: %s", ErrRefused, devices[i].ID, e.ErrorCode, e.ErrorStatus)
			}
		}
		if done == nil {
			return nil
		}
		w.told.Lock()
		defer w.told.Unlock()
		return done(first, devices, states)
	})
}

// adopt takes over a device that was there before.
func (w *work) adopt(ctx context.Context, d *Device) (State, error) {
	switch d.Adopt {
	case AdoptAsIs:
		return Existed, nil
	case AdoptNot:
		return Existed, fmt.Errorf("%w: device %s exists already with another certificate; remove it with twinfleet deprovision, or give the group another "+
			"id", ErrRefused, d.ID)
	}
	var identity registry.Identity
	err := w.patiently(ctx, func(ctx context.Context) (err error) {
		identity, err = w.p.Registry.Device(ctx, d.ID)
		return err
	})
	if err != nil {
		return Existed, fmt.Errorf("reading the identity %s, which exists already: %w", d.ID, err)
	}
	if t := identity.Authentication.Type; t != registry.AuthSAS && t != "" {
		return Existed, fmt.Errorf("%w: device %s exists already and authenticates by %s; give the group another id", ErrRefused, d.ID, t)
	}
	if identity.Authentication.SymmetricKey.Primary == d.Auth.SymmetricKey.Primary {
		return Made, nil // by a call whose answer was lost
	}
	d.Auth = identity.Authentication
	return Existed, nil
}

// Remove removes identities in bulk. done is told of them as by Make.
func (p *Provisioner) Remove(ctx context.Context, ids []string, done func(first int, states []State) error) error {
	return p.run(ctx, len(ids), func(ctx context.Context, w *work, first, last int) error {
		part := ids[first:last]
		entries := make([]registry.BulkEntry, len(part))
		for i, id := range part {
			entries[i] = registry.BulkEntry{ID: id, ImportMode: registry.ImportDelete}
		}
		failed, err := w.bulk(ctx, entries)
		if err != nil {
			return fmt.Errorf("removing identities %s to %s: %w", part[0], part[len(part)-1], err)
		}
		states := make([]State, len(part))
		for i, id := range part {
			e, bad := failed[id]
			switch {
			case !bad:
				states[i] = Removed
			case e.ErrorCode == iothub.ErrDeviceNotFound.Code:
				states[i] = Missing
			default:
				return fmt.Errorf("%w: removing %s: error %d: %s", ErrRefused, id, e.ErrorCode, e.ErrorStatus)
			}
		}
		if done == nil {
			return nil
		}
		w.told.Lock()
		defer w.told.Unlock()
		return done(first, states)
	})
}
