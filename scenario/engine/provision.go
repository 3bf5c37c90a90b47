package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
)

// The service takes at most 100 identities a bulk call (iot-hub-devguide-identity-registry).
const bulkSize = 100

// Bulk calls under way at once: enough to keep a hub busy, few enough not to flood it.
const bulkConcurrency = 4

// registry is what provisioning needs of the service side.
type registry interface {
	Bulk(ctx context.Context, entries []iothub.BulkEntry) (iothub.BulkResult, error)
	Device(ctx context.Context, id string) (iothub.Identity, error)
}

// identities are the devices of a run: ids by index, a key each, and which of them this run made.
type identities struct {
	ids  []string
	keys []iothub.Key
	made []bool
}

// provision makes an identity for every id, in bulk. A device that is there already is used with its own key.
func provision(ctx context.Context, reg registry, rec *metrics.Recorder, ids []string, progress func(done int)) (*identities, error) {
	all := &identities{ids: ids, keys: make([]iothub.Key, len(ids)), made: make([]bool, len(ids))}
	series := rec.Series(metrics.OpProvision, "")
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(bulkConcurrency)
	for first := 0; first < len(ids); first += bulkSize {
		last := min(first+bulkSize, len(ids))
		g.Go(func() error {
			entries := make([]iothub.BulkEntry, 0, last-first)
			for i := first; i < last; i++ {
				primary := iothub.NewKey()
				all.keys[i] = primary
				entries = append(entries, iothub.NewBulkEntry("create", ids[i], primary, iothub.NewKey()))
			}
			result, err := observed(series, func() (iothub.BulkResult, error) { return reg.Bulk(ctx, entries) })
			if err != nil {
				return fmt.Errorf("creating identities %s to %s: %w", ids[first], ids[last-1], err)
			}
			failed := make(map[string]iothub.BulkError, len(result.Errors))
			for _, e := range result.Errors {
				failed[e.DeviceID] = e
			}
			for i := first; i < last; i++ {
				e, bad := failed[ids[i]]
				switch {
				case !bad:
					all.made[i] = true
				case e.ErrorCode == iothub.ErrDeviceExists.Code:
					if err := all.adopt(ctx, reg, i); err != nil {
						return err
					}
				default:
					return fmt.Errorf("creating identity %s: error %d: %s", ids[i], e.ErrorCode, e.ErrorStatus)
				}
			}
			progress(int(done.Add(int64(last - first))))
			return nil
		})
	}
	return all, g.Wait()
}

// adopt takes the key of a device that was there before the run.
func (all *identities) adopt(ctx context.Context, reg registry, i int) error {
	identity, err := reg.Device(ctx, all.ids[i])
	if err != nil {
		return fmt.Errorf("reading the identity %s, which exists already: %w", all.ids[i], err)
	}
	if identity.Authentication.Type != "sas" && identity.Authentication.Type != "" {
		return fmt.Errorf("device %s exists already and authenticates by %s; give the group another id template", all.ids[i], identity.Authentication.Type)
	}
	all.keys[i] = identity.Authentication.SymmetricKey.Primary
	return nil
}

// deprovision removes the identities that this run made. It goes on after a failed call and returns all errors.
func (all *identities) deprovision(ctx context.Context, reg registry, progress func(done int)) error {
	var mine []string
	for i, made := range all.made {
		if made {
			mine = append(mine, all.ids[i])
		}
	}
	var errs []error
	done := 0
	for chunk := range slices.Chunk(mine, bulkSize) {
		entries := make([]iothub.BulkEntry, 0, len(chunk))
		for _, id := range chunk {
			entries = append(entries, iothub.BulkEntry{ID: id, ImportMode: "delete"})
		}
		if result, err := reg.Bulk(ctx, entries); err != nil {
			errs = append(errs, fmt.Errorf("removing identities %s to %s: %w", chunk[0], chunk[len(chunk)-1], err))
		} else if len(result.Errors) > 0 {
			errs = append(errs, fmt.Errorf("removing identity %s: error %d: %s", result.Errors[0].DeviceID, result.Errors[0].ErrorCode, result.Errors[0].ErrorStatus))
		}
		done += len(chunk)
		progress(done)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// observed runs one call and gives it to a series.
func observed[T any](series *metrics.Series, call func() (T, error)) (T, error) {
	sent := time.Now()
	series.Start(sent, sent)
	value, err := call()
	series.ObserveBecause(sent, sent, time.Now(), outcomeOf(err), metrics.Reason(err))
	return value, err
}
