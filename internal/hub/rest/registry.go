package rest

import (
	"net/http"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

func (s *Server) putDevice(w http.ResponseWriter, r *http.Request) error {
	var in registry.Identity
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	id := r.PathValue("id")
	if in.DeviceID == "" {
		in.DeviceID = id
	}
	if in.DeviceID != id {
		return iothub.ErrArgumentInvalid.With("the device id in the body is not the one in the path")
	}
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	var out registry.Identity
	var err error
	if condition := reply.IfMatch(r); condition != "" {
		out, err = s.opts.Registry.UpdateDevice(r.Context(), in, condition)
	} else {
		out, err = s.opts.Registry.CreateDevice(r.Context(), in)
	}
	if err != nil {
		return err
	}
	return reply.JSON(w, out)
}

func (s *Server) getDevice(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	identity, err := s.opts.Registry.Device(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply.JSON(w, identity)
}

func (s *Server) deleteDevice(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassRegistry, 1); err != nil {
		return err
	}
	if err := s.opts.Registry.DeleteDevice(r.Context(), r.PathValue("id"), reply.IfMatch(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
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

// noModules answers for module identities, which the embedded hub has none of.
func (s *Server) noModules(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.opts.Registry.Device(r.PathValue("id")); err != nil {
		return err
	}
	return reply.JSON(w, []struct{}{})
}

func (s *Server) noModule(_ http.ResponseWriter, r *http.Request) error {
	if _, err := s.opts.Registry.Device(r.PathValue("id")); err != nil {
		return err
	}
	return iothub.ErrModuleNotFound.With("Module %s on device %s not found", r.PathValue("module"), r.PathValue("id"))
}
