package store

import (
	"slices"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/deviceid"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// MaxModules is how many modules a device has at most, without those of the runtime (iot-hub-devguide-quotas-throttling).
const MaxModules = 50

// managedByEdge is who manages the modules of a gateway's runtime (iot-edge, iot-edge-runtime).
const managedByEdge = "iotEdge"

// runtimeModules are those that the hub makes for a gateway (iot-edge, iot-edge-runtime).
func runtimeModules() []string { return []string{"$edgeAgent", "$edgeHub"} }

// DeviceModules lists the modules of a device in the order of their ids. The error is ErrDeviceNotFound.
func (s *Store) DeviceModules(device string) ([]registry.Identity, error) {
	sh := s.shard(device)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if sh.entries[device] == nil {
		return nil, notFound(device)
	}
	ids := sh.modules[device]
	out := make([]registry.Identity, 0, len(ids))
	for _, id := range ids {
		out = append(out, sh.entries[entity.Key(device, id)].identity())
	}
	return out, nil
}

// addModule notes a module of a device.
func (sh *shard) addModule(device, module string) {
	if sh.modules == nil {
		sh.modules = make(map[string][]string)
	}
	ids := sh.modules[device]
	if i, found := slices.BinarySearch(ids, module); !found {
		sh.modules[device] = slices.Insert(ids, i, module)
	}
}

// removeModule forgets a module of a device.
func (sh *shard) removeModule(device, module string) {
	ids := sh.modules[device]
	if i, found := slices.BinarySearch(ids, module); found {
		ids = slices.Delete(ids, i, i+1)
	}
	if sh.modules[device] = ids; len(ids) == 0 {
		delete(sh.modules, device)
	}
}

// checkModule refuses a module that cannot be made.
func (sh *shard) checkModule(in registry.Identity) error {
	if err := deviceid.Check(in.ModuleID); err != nil {
		return iothub.ErrArgumentInvalid.With("module id: %v", err)
	}
	if sh.entries[in.DeviceID] == nil {
		return notFound(in.DeviceID)
	}
	if sh.entries[in.Key()] != nil {
		return iothub.ErrModuleExists.With("A module with ID '%s' is already registered on device '%s'.", in.ModuleID, in.DeviceID)
	}
	own := 0
	for _, id := range sh.modules[in.DeviceID] {
		if id[0] != '$' {
			own++
		}
	}
	if in.ModuleID[0] != '$' && own >= MaxModules {
		return iothub.ErrArgumentInvalid.With("device '%s' has %d modules, which is the most", in.DeviceID, MaxModules)
	}
	return nil
}

// edgeModules makes the modules of a gateway's runtime that are not there yet. The shard is locked.
func (s *Store) edgeModules(sh *shard, t *twin.Twin) ([]settled, error) {
	if !t.IoTEdge || t.ModuleID != "" {
		return nil, nil
	}
	var out []settled
	for _, module := range runtimeModules() {
		key := entity.Key(t.DeviceID, module)
		if sh.entries[key] != nil {
			continue
		}
		manager := managedByEdge
		rec, err := s.make(sh, registry.Identity{DeviceID: t.DeviceID, ModuleID: module, ManagedBy: &manager}, twin.Birth{})
		if err != nil {
			return nil, err
		}
		sh.entries[key] = rec
		sh.addModule(t.DeviceID, module)
		out = append(out, settled{key, rec, effects{}})
	}
	return out, nil
}

// dropOrphans forgets modules without a device, in case a file that somebody mended by hand has such.
func (s *Store) dropOrphans() {
	for i := range s.shards {
		sh := &s.shards[i]
		for device, ids := range sh.modules {
			if sh.entries[device] != nil {
				continue
			}
			for _, id := range ids {
				key := entity.Key(device, id)
				delete(sh.entries, key)
				s.publish(key, nil)
			}
			delete(sh.modules, device)
		}
	}
}
