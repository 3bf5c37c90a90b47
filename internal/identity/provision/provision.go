// Package provision makes and removes identities in bulk, at the pace that the service allows.
package provision

import (
	"context"
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/identity/paced"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// Registry is the service side of identities. Its calls are not retried: a Provisioner paces itself.
type Registry interface {
	// Bulk makes or removes up to registry.MaxBulk identities.
	Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error)
	// Device reads one.
	Device(ctx context.Context, id string) (registry.Identity, error)
}

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

// Provisioner makes and removes identities.
type Provisioner struct {
	Registry Registry // required
	// Stop ends the work politely when it is closed: calls under way are waited for, but for no longer than
	// three seconds. nil never does.
	Stop <-chan struct{}
	// Progress, which may be nil, is told how far it is, one at a time. It must be quick.
	Progress func(paced.Progress)
}

// work is what the pace has to know of so many identities.
func (p *Provisioner) work(total int) paced.Options {
	return paced.Options{Total: total, Stop: p.Stop, Progress: p.Progress}
}

// bulk makes one call and sorts its failures by device. It is repeated with the same keys.
func (p *Provisioner) bulk(ctx context.Context, w *paced.Work, entries []registry.BulkEntry) (map[string]registry.BulkError, error) {
	var result registry.BulkResult
	err := w.Repeat(ctx, func(ctx context.Context) (err error) {
		result, err = p.Registry.Bulk(ctx, entries)
		return err
	})
	if err != nil {
		return nil, err
	}
	failed := make(map[string]registry.BulkError, len(result.Errors))
	for _, e := range result.Errors {
		failed[e.DeviceID] = e
	}
	return failed, nil
}

// Make makes identities in bulk. build gives those with the indexes from first to before last, and may take its
// time: it is called from several goroutines. done, which may be nil, is told when they are there, from one
// goroutine at a time: their states, and keys of those that were adopted with AdoptKey. The calls are repeatable: a Make that
// was interrupted is resumed by another.
func (p *Provisioner) Make(ctx context.Context, n int, build func(first, last int) ([]Device, error),
	done func(first int, devices []Device, states []State) error,
) error {
	return paced.Run(ctx, p.work(n), func(ctx context.Context, w *paced.Work, first, last int) error {
		devices, err := build(first, last)
		if err != nil {
			return err
		}
		entries := make([]registry.BulkEntry, len(devices))
		for i, d := range devices {
			entries[i] = registry.BulkEntry{ID: d.ID, ImportMode: registry.ImportCreate, Status: registry.StatusEnabled, Authentication: &devices[i].Auth}
		}
		failed, err := p.bulk(ctx, w, entries)
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
				if states[i], err = p.adopt(ctx, w, &devices[i]); err != nil {
					return err
				}
			default:
				return fmt.Errorf("%w: creating %s: error %d: %s", ErrRefused, devices[i].ID, e.ErrorCode, e.ErrorStatus)
			}
		}
		if done == nil {
			return nil
		}
		return w.Tell(func() error { return done(first, devices, states) })
	})
}

// adopt takes over a device that was there before.
func (p *Provisioner) adopt(ctx context.Context, w *paced.Work, d *Device) (State, error) {
	switch d.Adopt {
	case AdoptAsIs:
		return Existed, nil
	case AdoptNot:
		return Existed, fmt.Errorf("%w: device %s exists already with another certificate; remove it with twinfleet deprovision, or give the group another "+
			"id", ErrRefused, d.ID)
	}
	var identity registry.Identity
	err := w.Patiently(ctx, func(ctx context.Context) (err error) {
		identity, err = p.Registry.Device(ctx, d.ID)
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
	return paced.Run(ctx, p.work(len(ids)), func(ctx context.Context, w *paced.Work, first, last int) error {
		part := ids[first:last]
		entries := make([]registry.BulkEntry, len(part))
		for i, id := range part {
			entries[i] = registry.BulkEntry{ID: id, ImportMode: registry.ImportDelete}
		}
		failed, err := p.bulk(ctx, w, entries)
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
		return w.Tell(func() error { return done(first, states) })
	})
}
