package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// regenerateKeys makes keys of identities anew: 200 when all were, 207 when some, 400 when none (azure-iot-cli-extension, which
// has it for api-version 2024-03-31).
func (s *Server) regenerateKeys(w http.ResponseWriter, r *http.Request) error {
	var in registry.Regenerate
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	switch in.PolicyKey {
	case registry.PrimaryKey, registry.SecondaryKey, registry.BothKeys:
	default:
		return iothub.ErrArgumentInvalid.With("policyKey is none of %s, %s and %s", registry.PrimaryKey, registry.SecondaryKey, registry.BothKeys)
	}
	switch {
	case len(in.Devices) == 0:
		return iothub.ErrArgumentInvalid.With("devices are missing")
	case len(in.Devices) > registry.MaxBulk:
		return iothub.ErrTooManyDevices
	}
	if err := s.admit(r, tier.ClassRegistry, len(in.Devices)); err != nil {
		return err
	}
	out := registry.Regenerated{PolicyKey: in.PolicyKey, Rotated: []registry.RotatedKeys{}, Errors: []registry.RegenerateFail{}}
	for _, of := range in.Devices {
		var keys registry.SymmetricKeys
		var err error = iothub.ErrArgumentInvalid.With("no id of the hub has a slash")
		if !entity.IsModule(of.ID) && !entity.IsModule(of.ModuleID) {
			keys, err = s.rotate(r.Context(), entity.Key(of.ID, of.ModuleID), in.PolicyKey)
		}
		if err != nil {
			e := iothub.AsError(err)
			out.Errors = append(out.Errors, registry.RegenerateFail{RegenerateOf: of, Code: e.Name, Status: e.Message})
			continue
		}
		out.Rotated = append(out.Rotated, registry.RotatedKeys{RegenerateOf: of, Primary: keys.Primary, Secondary: keys.Secondary})
	}
	switch {
	case len(out.Errors) == 0:
		return reply.JSON(w, out)
	case len(out.Rotated) == 0:
		return reply.Status(w, http.StatusBadRequest, out)
	default:
		return reply.Status(w, http.StatusMultiStatus, out)
	}
}

// rotateTries is how often a rotation is tried that somebody else's change of the identity comes before.
const rotateTries = 5

// rotate makes keys of one identity anew.
func (s *Server) rotate(ctx context.Context, id, which string) (registry.SymmetricKeys, error) {
	for try := 1; ; try++ {
		identity, err := s.opts.Registry.Device(id)
		if err != nil {
			return registry.SymmetricKeys{}, err
		}
		if identity.Authentication.Type != registry.AuthSAS {
			return registry.SymmetricKeys{}, iothub.ErrArgumentInvalid.With("it has no keys: it is authenticated by certificate")
		}
		keys := &identity.Authentication.SymmetricKey
		if which != registry.SecondaryKey {
			keys.Primary = sas.NewKey()
		}
		if which != registry.PrimaryKey {
			keys.Secondary = sas.NewKey()
		}
		changed, err := s.opts.Registry.UpdateDevice(ctx, identity, identity.ETag)
		if errors.Is(err, iothub.ErrPreconditionFailed) && try < rotateTries {
			continue
		}
		return changed.Authentication.SymmetricKey, err
	}
}
