package transfer

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// maxLine is the longest line of a file of devices, in bytes: a full twin is below it.
const maxLine = 1 << 20

// line is one device or module in an export (iot-hub-bulk-identity-mgmt).
type line struct {
	ID             string                   `json:"id"`
	ModuleID       string                   `json:"moduleId,omitempty"`
	ETag           string                   `json:"eTag"`
	Status         string                   `json:"status,omitempty"`
	StatusReason   *string                  `json:"statusReason,omitempty"`
	ManagedBy      *string                  `json:"managedBy,omitempty"`
	Authentication *registry.Authentication `json:"authentication"`
	TwinETag       string                   `json:"twinETag"`
	Tags           json.RawMessage          `json:"tags"`
	Properties     struct {
		Desired  json.RawMessage `json:"desired"`
		Reported json.RawMessage `json:"reported"`
	} `json:"properties"`
	Capabilities *registry.Capabilities `json:"capabilities,omitempty"`
	Scope        string                 `json:"deviceScope,omitempty"`
	ParentScopes []string               `json:"parentScopes,omitempty"`
}

// export writes all devices and their modules, a line each, into a blob.
func (r *Runner) export(ctx context.Context, w *work) error {
	keys := slices.Sorted(r.opts.Registry.Each()) // a device comes before its modules
	return r.opts.Storage.Write(w.output, cmp.Or(w.doc.OutputBlob, devicesBlob), nil, func(into io.Writer) error {
		out := bufio.NewWriter(into)
		for i, key := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			text, ok, err := r.line(key, w.doc.ExcludeKeys)
			if err != nil {
				return fmt.Errorf("exporting %s: %w", key, err)
			}
			if !ok {
				continue // deleted meanwhile
			}
			if _, err := out.Write(append(text, '\n')); err != nil {
				return err
			}
			r.progress(w.doc.ID, int64(i), int64(len(keys)))
		}
		return out.Flush()
	})
}

// line makes the line of a device or module.
func (r *Runner) line(key string, withoutKeys bool) (text []byte, ok bool, err error) {
	identity, err := r.opts.Registry.Device(key)
	if err != nil {
		return nil, false, nil
	}
	t, err := r.opts.Registry.Twin(key)
	if err != nil {
		return nil, false, nil
	}
	l := line{
		ID: identity.DeviceID, ModuleID: identity.ModuleID, ETag: identity.ETag, ManagedBy: identity.ManagedBy, Authentication: &identity.Authentication,
		TwinETag: etag.OfTwin(t.ETag), Tags: t.Tags.AppendJSON(nil, true, true), Scope: identity.Scope, ParentScopes: identity.ParentScopes,
	}
	if withoutKeys {
		l.Authentication.SymmetricKey = registry.SymmetricKeys{}
	}
	if l.ModuleID == "" {
		l.Status, l.StatusReason, l.Capabilities = identity.Status, identity.StatusReason, &identity.Capabilities
	}
	l.Properties.Desired, l.Properties.Reported = t.Desired.AppendJSON(nil, true, true), t.Reported.AppendJSON(nil, true, true)
	text, err = json.Marshal(l)
	return text, true, err
}

// imports does what the lines of a blob say, in hundreds, and writes those that failed into another.
func (r *Runner) imports(ctx context.Context, w *work) (err error) {
	blob, err := r.opts.Storage.Open(w.input, cmp.Or(w.doc.InputBlob, devicesBlob))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	return r.opts.Storage.Write(w.output, cmp.Or(w.doc.OutputBlob, errorsBlob), nil, func(into io.Writer) error {
		b := bulk{registry: r.opts.Registry, errors: json.NewEncoder(into), seen: make(map[string]bool)}
		lines := bufio.NewScanner(blob)
		lines.Buffer(nil, maxLine)
		var read int64
		for lines.Scan() {
			read += int64(len(lines.Bytes())) + 1
			if err := b.add(ctx, lines.Bytes()); err != nil {
				return err
			}
			r.progress(w.doc.ID, read, blob.Size)
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("reading line %d: %w", b.line+1, err)
		}
		return b.flush(ctx)
	})
}

// lineError is a line of an import that failed.
type lineError struct {
	registry.BulkError
	Line int `json:"lineNumber"` // from 1; 0 when it is not known
}

// bulk gathers lines for calls of the registry.
type bulk struct {
	registry Registry
	errors   *json.Encoder
	line     int
	entries  []registry.BulkEntry
	lines    []int // of the entries
	seen     map[string]bool
}

// add takes one line. A device that is in the call already ends the call: its lines count in their order.
func (b *bulk) add(ctx context.Context, text []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.line++
	if len(text) == 0 {
		return nil
	}
	var e registry.BulkEntry
	if err := json.Unmarshal(text, &e); err != nil {
		return b.failed("", "", b.line, iothub.ErrDeserialization.With("the line is no device: %v", err))
	}
	if b.seen[e.Key()] || len(b.entries) == registry.MaxBulk {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.seen[e.Key()] = true
	b.entries, b.lines = append(b.entries, e), append(b.lines, b.line)
	return nil
}

// flush makes the call.
func (b *bulk) flush(ctx context.Context) error {
	if len(b.entries) == 0 {
		return nil
	}
	result, err := b.registry.Bulk(ctx, b.entries)
	if err != nil {
		return err
	}
	for _, e := range result.Errors {
		at := slices.IndexFunc(b.entries, func(x registry.BulkEntry) bool { return x.ID == e.DeviceID && x.ModuleID == e.ModuleID })
		if err := b.errors.Encode(lineError{e, b.lines[at]}); err != nil {
			return err
		}
	}
	b.entries, b.lines = b.entries[:0], b.lines[:0]
	clear(b.seen)
	return nil
}

func (b *bulk) failed(device, module string, number int, err *iothub.Error) error {
	return b.errors.Encode(lineError{registry.BulkError{DeviceID: device, ModuleID: module, ErrorCode: err.Code, ErrorStatus: err.Message}, number})
}
