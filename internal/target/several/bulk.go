package several

import (
	"context"
	"slices"

	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// Bulk carries out registry operations, each at the hub of its device. Errors and warnings are in the order of the entries. A hub that sheds
// its part while others took theirs is asked anew, so that a call takes place as a whole, and once.
func (h *Hubs) Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error) {
	parts, order := make([][]registry.BulkEntry, len(h.of)), make(map[string]int, len(entries))
	for i, e := range entries {
		hub, ok := h.at(e.ID)
		if !ok {
			_, err := h.hub(e.ID)
			return registry.BulkResult{}, err
		}
		parts[hub] = append(parts[hub], e)
		if _, twice := order[e.Key()]; !twice {
			order[e.Key()] = i
		}
	}
	var hubs []Service
	for i, part := range parts {
		if len(part) > 0 {
			hubs = append(hubs, h.of[i])
		}
	}
	parts = slices.DeleteFunc(parts, func(part []registry.BulkEntry) bool { return len(part) == 0 })
	if len(parts) == 1 {
		return hubs[0].Bulk(ctx, parts[0])
	}
	results := make([]registry.BulkResult, len(parts))
	err := parted(ctx, len(parts), func(i int) (err error) {
		results[i], err = hubs[i].Bulk(ctx, parts[i])
		return err
	})
	if err != nil {
		return registry.BulkResult{}, err
	}
	out := registry.BulkResult{IsSuccessful: true}
	for _, r := range results {
		out.IsSuccessful = out.IsSuccessful && r.IsSuccessful
		out.Errors, out.Warnings = append(out.Errors, r.Errors...), append(out.Warnings, r.Warnings...)
	}
	place := func(e registry.BulkError) int {
		return order[registry.BulkEntry{ID: e.DeviceID, ModuleID: e.ModuleID}.Key()]
	}
	for _, list := range [][]registry.BulkError{out.Errors, out.Warnings} {
		slices.SortStableFunc(list, func(a, b registry.BulkError) int { return place(a) - place(b) })
	}
	return out, nil
}
