package rest

import (
	"net/http"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/hub/transfer"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// Transfers carries out imports and exports of identities. Errors are *iothub.Error.
type Transfers interface {
	Create(job transfer.Job, access func(container, query string) error) (transfer.Job, error)
	Job(id string) (transfer.Job, error)
	List() []transfer.Job
	Cancel(id string) error
}

// registryRights are needed for what reads and writes keys of devices.
const registryRights = policy.RegistryRead | policy.RegistryWrite

// transferRoutes are the endpoints of imports and exports.
func (s *Server) transferRoutes(route func(pattern string, right policy.Rights, h handler)) {
	route("POST /jobs/create", registryRights, s.createTransfer)
	route("GET /jobs", policy.RegistryRead, s.listTransfers)
	route("GET /jobs/{id}", policy.RegistryRead, s.getTransfer)
	route("DELETE /jobs/{id}", registryRights, s.cancelTransfer)
}

func (s *Server) createTransfer(w http.ResponseWriter, r *http.Request) error {
	var in transfer.Job
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	job, err := s.opts.Transfers.Create(in, func(container, query string) error {
		if query == "" { // the caller's own right is enough, as that of an identity of the service is
			return nil
		}
		if err := s.opts.Policies.Authorize("SharedAccessSignature "+query, blobs.Path+container, registryRights); err != nil {
			return iothub.ErrBlobContainer.With("%s", iothub.AsError(err).Message)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return reply.JSON(w, job)
}

func (s *Server) listTransfers(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	return reply.JSON(w, s.opts.Transfers.List())
}

func (s *Server) getTransfer(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	job, err := s.opts.Transfers.Job(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply.JSON(w, job)
}

func (s *Server) cancelTransfer(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	if err := s.opts.Transfers.Cancel(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// mayAccess checks the access to a blob: a shared access signature, or a bearer token where those are accepted.
func (s *Server) mayAccess(header, path string) error {
	if token, is := bearer.Token(header); is {
		if err := s.opts.Bearer.Check(token, time.Now()); err != nil {
			return iothub.ErrUnauthorizedAccess.With("Unauthorized: %v", err)
		}
		return nil
	}
	return s.opts.Policies.Authorize(header, path, registryRights)
}
