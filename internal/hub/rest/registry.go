package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// putIdentity makes a device or a module, or with a condition changes it.
func (s *Server) putIdentity(w http.ResponseWriter, r *http.Request) error {
	var in registry.Identity
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	id, module := r.PathValue("id"), r.PathValue("module")
	if in.DeviceID, in.ModuleID = cmp.Or(in.DeviceID, id), cmp.Or(in.ModuleID, module); in.DeviceID != id || in.ModuleID != module {
		return iothub.ErrArgumentInvalid.With("the device or module id in the body is not the one in the path")
	}
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	if err := s.moduleAccess(r); err != nil {
		return err
	}
	condition := reply.IfMatch(r)
	if condition == "" { // Also the empty tag in quotes, with which a client of the service creates (recorded from it).
		out, err := s.opts.Registry.CreateDevice(r.Context(), in)
		if err != nil {
			return err
		}
		body, err := json.Marshal(out)
		if err != nil {
			return err
		}
		identityTag(w, out)
		// What was never is written without a zone in the answer to a creation alone (recorded from the service).
		return reply.Bytes(w, http.StatusOK, bytes.ReplaceAll(body, []byte(`"0001-01-01T00:00:00Z"`), []byte(`"0001-01-01T00:00:00"`)))
	}
	out, err := s.opts.Registry.UpdateDevice(r.Context(), in, condition)
	if err != nil {
		return err
	}
	identityTag(w, out)
	return reply.JSON(w, out)
}

// identityTag sets the header ETag, which answers with a device have and those with a module have not (recorded from the
// service).
func identityTag(w http.ResponseWriter, identity registry.Identity) {
	if identity.ModuleID == "" {
		w.Header().Set("ETag", `"`+identity.ETag+`"`)
	}
}

// moduleAccess refuses calls about modules of a device that is absent or disabled, as was reported from the service.
func (s *Server) moduleAccess(r *http.Request) error {
	if !strings.Contains(r.Pattern, "/modules") {
		return nil
	}
	device, err := s.opts.Registry.Device(r.PathValue("id"))
	if err != nil || device.Status != registry.StatusEnabled {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: the device %s is disabled or not registered", r.PathValue("id"))
	}
	return nil
}

func (s *Server) getIdentity(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	if err := s.moduleAccess(r); err != nil {
		return err
	}
	identity, err := s.opts.Registry.Device(key(r))
	if err != nil {
		return err
	}
	identityTag(w, identity)
	return reply.JSON(w, identity)
}

// deleteIdentity needs a condition, which "*" is too (as was reported from the service).
func (s *Server) deleteIdentity(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	if err := s.moduleAccess(r); err != nil {
		return err
	}
	condition := reply.IfMatch(r)
	if condition == "" {
		return iothub.ErrPreconditionFailed.With("Precondition failed: a deletion needs an If-Match header with an ETag or *")
	}
	if err := s.opts.Registry.DeleteDevice(r.Context(), key(r), condition); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) listModules(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	if err := s.moduleAccess(r); err != nil {
		return err
	}
	list, err := s.opts.Registry.DeviceModules(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply.JSON(w, list)
}

// maxList is how many identities a list may have; a number out of range counts as it.
const maxList = 1000

func (s *Server) listDevices(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	top, err := strconv.Atoi(r.URL.Query().Get("top"))
	if err != nil || top < 1 || top > maxList {
		top = maxList
	}
	return reply.JSON(w, s.opts.Registry.Devices(top))
}

// bulk counts every device of a call against the throttle (iot-hub-devguide-quotas-throttling).
func (s *Server) bulk(w http.ResponseWriter, r *http.Request) error {
	var entries []registry.BulkEntry
	if err := reply.Decode(r, &entries); err != nil {
		return err
	}
	if len(entries) > registry.MaxBulk {
		return iothub.ErrTooManyDevices
	}
	if err := s.admit(r, tier.ClassRegistry, len(entries)); err != nil {
		return err
	}
	result, err := s.opts.Registry.Bulk(r.Context(), entries)
	if err != nil {
		return err
	}
	if result.Errors == nil {
		result.Errors = []registry.BulkError{}
	}
	if result.Warnings == nil {
		result.Warnings = []registry.BulkError{}
	}
	if !result.IsSuccessful {
		w.Header().Set("iothub-errorcode", iothub.ErrBulkFailed.Name)
		return reply.Status(w, http.StatusBadRequest, result)
	}
	return reply.JSON(w, result)
}

func (s *Server) registryStatistics(w http.ResponseWriter, _ *http.Request) error {
	return reply.JSON(w, s.opts.Registry.Statistics())
}

func (s *Server) serviceStatistics(w http.ResponseWriter, _ *http.Request) error {
	return reply.JSON(w, registry.ServiceStatistics{Connected: s.opts.Registry.ConnectedCount()})
}
