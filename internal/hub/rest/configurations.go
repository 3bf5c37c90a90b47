package rest

import (
	"context"
	"io"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// Configurations keeps the configurations of automatic device management. Errors are *iothub.Error.
type Configurations interface {
	Put(id string, body []byte, ifMatch string) (configuration.Configuration, error)
	Get(id string) (configuration.Configuration, error)
	List() []configuration.Configuration
	Delete(id, ifMatch string) error
	ApplyContent(ctx context.Context, deviceID string, body []byte) error
}

// configurationRoutes are the endpoints of automatic device management.
func (s *Server) configurationRoutes(route func(pattern string, right policy.Rights, h handler)) {
	route("PUT /configurations/{id}", policy.RegistryWrite, s.putConfiguration)
	route("GET /configurations/{id}", policy.RegistryRead, s.getConfiguration)
	route("DELETE /configurations/{id}", policy.RegistryWrite, s.deleteConfiguration)
	route("GET /configurations", policy.RegistryRead, s.listConfigurations)
	route("POST /configurations/testQueries", policy.RegistryRead, s.testQueries)
	route("POST /devices/{id}/applyConfigurationContent", policy.RegistryWrite, s.applyConfigurationContent)
}

func (s *Server) putConfiguration(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassConfiguration, 1); err != nil {
		return err
	}
	return answerConfiguration(w)(s.opts.Configurations.Put(r.PathValue("id"), body, r.Header.Get("If-Match")))
}

func (s *Server) getConfiguration(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassConfiguration, 1); err != nil {
		return err
	}
	return answerConfiguration(w)(s.opts.Configurations.Get(r.PathValue("id")))
}

// answerConfiguration answers with a configuration and its ETag, which only this endpoint and that of identities show.
func answerConfiguration(w http.ResponseWriter) func(configuration.Configuration, error) error {
	return func(c configuration.Configuration, err error) error {
		if err != nil {
			return err
		}
		w.Header().Set("ETag", `"`+c.ETag+`"`)
		return reply.JSON(w, c)
	}
}

func (s *Server) deleteConfiguration(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassConfiguration, 1); err != nil {
		return err
	}
	if err := s.opts.Configurations.Delete(r.PathValue("id"), r.Header.Get("If-Match")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// listConfigurations passes over top, as the service does: a hub has few of them.
func (s *Server) listConfigurations(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassConfiguration, 1); err != nil {
		return err
	}
	return reply.JSON(w, s.opts.Configurations.List())
}

func (s *Server) testQueries(w http.ResponseWriter, r *http.Request) error {
	var in configuration.Test
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassConfiguration, 1); err != nil {
		return err
	}
	return reply.JSON(w, in.Run())
}

func (s *Server) applyConfigurationContent(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassConfiguration, 1); err != nil {
		return err
	}
	if err := s.opts.Configurations.ApplyContent(r.Context(), r.PathValue("id"), body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
