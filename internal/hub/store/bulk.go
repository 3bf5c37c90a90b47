package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/store/disk"
	"github.com/twinfleet/twinfleet/internal/hub/store/record"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// importCreateOrUpdateIfMatch is the mode that updates a device under the condition of its
// ETag and creates it when there is none.
const importCreateOrUpdateIfMatch = "createOrUpdateIfMatchETag"

// Bulk does up to registry.MaxBulk entries of a bulk call, each by itself, and waits for the
// disk once. Entries that fail are in the result. Errors of the whole call, which then
// changes nothing: ErrTooManyDevices, ErrDefinedMultipleTimes.
//
// Tags and desired properties of an entry are merged into the twin; with a twinETag only if
// it is the present one. An identity and its twin change together or not at all.
func (s *Store) Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error) {
	if len(entries) > registry.MaxBulk {
		return registry.BulkResult{}, iothub.ErrTooManyDevices
	}
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		if seen[e.Key()] {
			return registry.BulkResult{}, iothub.ErrDefinedMultipleTimes.With("Device %s is defined multiple times in the call", e.Key())
		}
		seen[e.Key()] = true
	}
	if err := s.usable(); err != nil {
		return registry.BulkResult{}, err
	}
	result := registry.BulkResult{IsSuccessful: true, Errors: []registry.BulkError{}, Warnings: []registry.BulkError{}}
	batches := make([]*disk.Batch, 0, len(entries))
	for i := range entries {
		b, err := s.bulkEntry(&entries[i])
		if err != nil {
			e := iothub.AsError(err)
			result.IsSuccessful = false
			result.Errors = append(result.Errors, registry.BulkError{
				DeviceID: entries[i].ID, ModuleID: entries[i].ModuleID, ErrorCode: e.Code, ErrorStatus: e.Message,
			})
			continue
		}
		batches = append(batches, b)
	}
	for _, b := range batches {
		if err := b.Wait(ctx); err != nil {
			return registry.BulkResult{}, err
		}
	}
	return result, nil
}

// bulkEntry does one entry.
func (s *Store) bulkEntry(e *registry.BulkEntry) (*disk.Batch, error) {
	if entity.IsModule(e.ID) || entity.IsModule(e.ModuleID) { // it would name another one's key
		return nil, iothub.ErrArgumentInvalid.With("no id of the hub has a slash")
	}
	birth, write, err := s.bulkTwin(e)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(e.ModuleID, "$") && !strings.EqualFold(e.ImportMode, registry.ImportUpdateTwin) && !strings.EqualFold(e.ImportMode, registry.ImportUpdateTwinIfEtag) {
		return nil, iothub.ErrArgumentInvalid.With("Module ids that begin with $ are the hub's own")
	}
	identity := registry.Identity{
		DeviceID: e.ID, ModuleID: e.ModuleID, Status: e.Status, StatusReason: e.StatusReason, ManagedBy: e.ManagedBy,
		Scope: e.Scope, ParentScopes: e.ParentScopes,
	}
	if e.Authentication != nil {
		identity.Authentication = *e.Authentication
	}
	if e.Capabilities != nil {
		identity.Capabilities = *e.Capabilities
	}
	sh := s.shard(e.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch strings.ToLower(e.ImportMode) {
	case strings.ToLower(registry.ImportCreate):
		return s.createLocked(sh, identity, birth)
	case strings.ToLower(registry.ImportUpdate):
		return s.bulkUpdate(sh, e, identity, "", write)
	case strings.ToLower(registry.ImportUpdateIfMatch):
		return s.bulkUpdate(sh, e, identity, unquoted(e.ETag), write)
	case "", strings.ToLower(registry.ImportCreateOrUpdate):
		if sh.entries[e.Key()] == nil {
			return s.createLocked(sh, identity, birth)
		}
		return s.bulkUpdate(sh, e, identity, "", write)
	case strings.ToLower(importCreateOrUpdateIfMatch):
		if sh.entries[e.Key()] == nil {
			return s.createLocked(sh, identity, birth)
		}
		return s.bulkUpdate(sh, e, identity, unquoted(e.ETag), write)
	case strings.ToLower(registry.ImportDelete):
		return s.deleteLocked(sh, e.Key(), "")
	case strings.ToLower(registry.ImportDeleteIfMatch):
		return s.deleteLocked(sh, e.Key(), unquoted(e.ETag))
	case strings.ToLower(registry.ImportUpdateTwin):
		return s.bulkUpdateTwin(sh, e, write, false)
	case strings.ToLower(registry.ImportUpdateTwinIfEtag):
		return s.bulkUpdateTwin(sh, e, write, true)
	default:
		return nil, iothub.ErrArgumentInvalid.With("The import mode %q is unknown", shorten(e.ImportMode))
	}
}

// bulkUpdate updates an identity, keeping what the entry does not name.
func (s *Store) bulkUpdate(sh *shard, e *registry.BulkEntry, identity registry.Identity, ifMatch string, write twinWrite) (*disk.Batch, error) {
	if rec := sh.entries[e.Key()]; rec != nil {
		if e.Capabilities == nil {
			identity.Capabilities.IoTEdge = rec.Twin.IoTEdge
		}
		if write != nil && !etag.Matches(e.TwinETag, etag.OfTwin(rec.Twin.ETag)) {
			return nil, preconditionFailed(e.ID)
		}
	}
	return s.updateLocked(sh, identity, ifMatch, record.Change{Keep: true}, write)
}

// bulkUpdateTwin writes the twin alone.
func (s *Store) bulkUpdateTwin(sh *shard, e *registry.BulkEntry, write twinWrite, conditional bool) (*disk.Batch, error) {
	rec := sh.entries[e.Key()]
	if rec == nil {
		return nil, notFound(e.Key())
	}
	ifMatch := "" // also for a conditional mode without an ETag, as recorded from the service
	if conditional {
		ifMatch = unquoted(e.TwinETag)
	}
	if write == nil {
		if !etag.Matches(ifMatch, etag.OfTwin(rec.Twin.ETag)) {
			return nil, preconditionFailed(e.ID)
		}
		return nil, nil
	}
	return s.writeTwinLocked(rec, ifMatch, write)
}

// bulkTwin makes the first content of a twin that is to be made, and the write of one there is, nil for none.
func (s *Store) bulkTwin(e *registry.BulkEntry) (twin.Birth, twinWrite, error) {
	var desiredText json.RawMessage
	if e.Properties != nil {
		desiredText = e.Properties.Desired
	}
	tags, err := s.section("tags", e.Tags)
	if err != nil {
		return twin.Birth{}, nil, err
	}
	desired, err := s.section("properties.desired", desiredText)
	if err != nil {
		return twin.Birth{}, nil, err
	}
	birth := twin.Birth{Bulk: true, Tags: tags, Desired: desired}
	if !tags.IsDefined() && !desired.IsDefined() {
		return birth, nil, nil
	}
	return birth, func(t *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error) {
		return t.Patch(tags, desired, now)
	}, nil
}

// section reads one section of an entry; no text is Undefined, and so is null, which clients write for what they do not set.
func (s *Store) section(name string, text []byte) (jsonvalue.Value, error) {
	if len(text) == 0 || string(text) == "null" {
		return jsonvalue.Value{}, nil
	}
	v, err := s.interner.Parse(text)
	var syntax *jsonparse.SyntaxError
	if errors.As(err, &syntax) {
		return jsonvalue.Value{}, iothub.ErrArgumentInvalid.With("%s: %s", name, syntax.Reason)
	}
	if err != nil {
		return jsonvalue.Value{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return v, nil
}

// unquoted is an ETag without the quotes that some clients leave on it.
func unquoted(s string) string { return strings.Trim(s, `"`) }

// shorten keeps a message from growing with what a client sends.
func shorten(s string) string {
	const longest = 40
	if len(s) <= longest {
		return s
	}
	return s[:longest] + "..."
}
