package configurations

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// ApplyContent writes a content into the modules of one IoT Edge device, once: what the service does without a
// configuration. Modules that the device lacks are made. Errors: ErrDeviceNotFound, ErrArgumentInvalid for a device of
// another kind, ErrInvalidConfigurationContent; then nothing is written.
func (m *Manager) ApplyContent(ctx context.Context, device string, body []byte) error {
	var content configuration.Content
	if err := json.Unmarshal(body, &content); err != nil {
		return iothub.ErrArgumentInvalid.With("The body is no content of a configuration: %v", err)
	}
	parsed, err := content.Parse()
	if err != nil {
		return err
	}
	t, err := m.opts.Store.Twin(device)
	switch {
	case err != nil:
		return err
	case !t.IoTEdge:
		return iothub.ErrArgumentInvalid.With("Device %s is not an Azure IoT Edge device", device)
	case parsed.Kind != configuration.ForEdge:
		return iothub.ErrInvalidConfigurationContent.With("content must hold modulesContent")
	}
	for _, module := range slices.Sorted(maps.Keys(parsed.Modules)) {
		if err := m.opts.Store.EnsureModule(ctx, device, module); err != nil {
			return err
		}
		doc := parsed.Modules[module]
		write := func(t *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error) {
			if parsed.Whole[module] {
				return t.Replace(t.Tags.Value(), doc, now)
			}
			return t.Patch(jsonvalue.Value{}, doc, now)
		}
		if err := m.opts.Store.Configure(ctx, []string{entity.Key(device, module)}, write); err != nil {
			return err
		}
	}
	return nil
}
