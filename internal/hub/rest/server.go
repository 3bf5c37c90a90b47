// Package rest is the service side of the embedded hub: registry, twins, queries, direct methods,
// messages and jobs over HTTP, as Azure IoT Hub answers them.
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest/blob"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/hub/rest/route"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/apiversion"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Registry keeps identities of devices and modules, which go by their keys. Errors are *iothub.Error.
type Registry interface {
	CreateDevice(ctx context.Context, identity registry.Identity) (registry.Identity, error)
	UpdateDevice(ctx context.Context, identity registry.Identity, ifMatch string) (registry.Identity, error)
	Device(id string) (registry.Identity, error)
	DeviceModules(device string) ([]registry.Identity, error)
	Devices(top int) []registry.Identity
	DeleteDevice(ctx context.Context, id, ifMatch string) error
	Bulk(ctx context.Context, entries []registry.BulkEntry) (registry.BulkResult, error)
	Statistics() registry.Statistics
	ConnectedCount() int
}

// Twins keeps twins. Errors are *iothub.Error.
type Twins interface {
	Twin(id string) (*twin.Twin, error)
	PatchTwin(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error)
	ReplaceTwin(ctx context.Context, id string, tags, desired jsonvalue.Value, ifMatch string) (*twin.Twin, error)
	ParseValue(b []byte) (jsonvalue.Value, error)
}

// Devices reaches connected devices.
type Devices interface {
	InvokeMethod(ctx context.Context, deviceID, name string, payload []byte) (int, []byte, error)
	// Send admits a message, queues it and meters it: services send over AMQP too.
	Send(ctx context.Context, deviceID string, m c2d.Message) error
	Purge(deviceID string) int
}

// Jobs carries out scheduled jobs. Errors are *iothub.Error.
type Jobs interface {
	Create(ctx context.Context, job jobs.Job) (jobs.Job, error)
	Job(id string) (jobs.Job, error)
	Cancel(ctx context.Context, id string) (jobs.Job, error)
	List(jobType, status string, behind uint64, size int) (list []jobs.Job, next uint64)
	Query(ctx context.Context, q *query.Query, size int, continuation string) (paging.Page, error)
}

// Options of a Server. Required are those in the first block but Modules.
type Options struct {
	Registry Registry    // answers /devices
	Twins    Twins       // answers /twins
	Source   plan.Source // the twins of devices that queries read
	Modules  plan.Source // the twins of modules that queries read; nil for none
	Devices  Devices     // direct methods and messages go there
	Jobs     Jobs        // answers /jobs
	Policies policy.Set  // whose tokens are accepted
	// Bearer says which bearer tokens are accepted, all of them with every right; the zero value accepts none.
	Bearer         bearer.Verifier
	Configurations Configurations // answers /configurations
	Transfers      Transfers      // answers /jobs, but for /jobs/v2
	Storage        *blobs.Storage // answers /storage
	Signer         blobs.Signer   // whose access to single blobs is accepted; the zero value accepts none
	// Admit waits until an operation of a class may go on, or returns the error for the client. n is
	// devices for the registry, bytes of payload for direct methods, else 1. Nil lets everything pass. Messages are admitted by Devices.
	Admit func(ctx context.Context, class tier.Class, n int) error
	// Meter counts one operation of so many bytes against the day's messages; nil counts nothing.
	Meter func(bytes int)
	// Arm begins to hold the hub's limits when the owner asks for it at iothub.ArmPath; nil for a hub that nobody can ask, which has no such endpoint.
	Arm func()
	// Wait holds a request back, for the fault switch; nil for none.
	Wait   func(ctx context.Context)
	Logger *slog.Logger // nil logs nothing
}

// Server answers the service side's requests.
type Server struct {
	opts Options
	mux  *http.ServeMux
	// unknown answers for paths that are no endpoint's.
	unknown http.Handler
}

const (
	defaultPage = 100 // items of a query's page
	maxPage     = 1000
)

// handler answers one endpoint: with a status and a body, or with an error.
type handler func(w http.ResponseWriter, r *http.Request) error

// New makes a Server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, mux: http.NewServeMux()}
	handle := func(pattern string, right policy.Rights, h handler) {
		s.mux.Handle(pattern, s.wrap(right, h, errorbody.FormText))
	}
	for _, path := range []string{"/devices/{id}", "/devices/{id}/modules/{module}"} {
		handle("PUT "+path, policy.RegistryWrite, s.putIdentity)
		handle("GET "+path, policy.RegistryRead, s.getIdentity)
		handle("DELETE "+path, policy.RegistryWrite, s.deleteIdentity)
	}
	handle("GET /devices/{id}/modules", policy.RegistryRead, s.listModules)
	for _, path := range []string{"/devices", "/devices/{$}"} {
		handle("GET "+path, policy.RegistryRead, s.listDevices)
		handle("POST "+path, policy.RegistryWrite, s.bulk)
	}
	handle("POST /devices/keys/regenerate", policy.RegistryWrite, s.regenerateKeys)
	handle("GET /statistics/devices", policy.RegistryRead, s.registryStatistics)
	handle("GET /statistics/service", policy.ServiceConnect, s.serviceStatistics)
	for _, path := range []string{"/twins/{id}", "/twins/{id}/modules/{module}"} {
		handle("GET "+path, policy.ServiceConnect, s.getTwin)
		handle("PATCH "+path, policy.ServiceConnect, checked(s.patchTwin))
		handle("PUT "+path, policy.ServiceConnect, checked(s.putTwin))
		s.mux.Handle("POST "+path+"/methods", s.wrap(policy.ServiceConnect, s.method, errorbody.FormNested))
	}
	handle("POST /devices/query", policy.ServiceConnect, s.query)
	handle("POST /devices/{id}/messages/{direction}", policy.ServiceConnect, s.sendMessage)
	handle("DELETE /devices/{id}/commands", policy.ServiceConnect, s.purge)
	handle("PUT /jobs/v2/{id}", policy.ServiceConnect, s.createJob)
	handle("GET /jobs/v2/{id}", policy.ServiceConnect, s.getJob)
	handle("POST /jobs/v2/{id}/cancel", policy.ServiceConnect, s.cancelJob)
	handle("GET /jobs/v2/query", policy.ServiceConnect, s.listJobs)
	s.configurationRoutes(handle)
	s.digitalTwinRoutes(handle)
	s.transferRoutes(handle)
	if o.Arm != nil {
		handle("POST "+iothub.ArmPath, owner, s.arm)
	}
	blob.New(blob.Options{Storage: o.Storage, Access: s.mayAccess, Signer: o.Signer, Logger: o.Logger}).Routes(s.mux)
	s.unknown = s.wrap(0, func(http.ResponseWriter, *http.Request) error {
		return errNoEndpoint
	}, errorbody.FormText)
	s.mux.Handle("/", s.unknown)
	return s
}

// owner is the rights of the policy iothubowner, which no other has all of.
const owner = policy.RegistryRead | policy.RegistryWrite | policy.ServiceConnect | policy.DeviceConnect

// arm has the hub hold its limits from now on. Once they hold it does nothing.
func (s *Server) arm(w http.ResponseWriter, _ *http.Request) error {
	s.opts.Arm()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ServeHTTP answers a request. Its path may be percent-encoded as a whole.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply.Begin(w)
	routed, ok := route.Normalized(r)
	if !ok {
		s.unknown.ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, routed)
}

// wrap checks the caller's right and the version of the protocol, then reads the body, and writes errors as the
// endpoint's clients expect them. Who has no right is refused before its body is read.
func (s *Server) wrap(right policy.Rights, h handler, body errorbody.Form) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.opts.Wait != nil {
			s.opts.Wait(r.Context())
		}
		err := s.permitted(r, right)
		if err == nil {
			err = named(r)
		}
		if err == nil {
			err = reply.Body(w, r, reply.MaxBody)
		}
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			reply.Error(w, r, err, body, s.opts.Logger)
		}
	})
}

// permitted refuses who has no right, and who names no version of the protocol (seen at the service).
func (s *Server) permitted(r *http.Request, right policy.Rights) error {
	header := r.Header.Get("Authorization")
	if token, is := bearer.Token(header); is {
		if err := s.opts.Bearer.Check(token, time.Now()); err != nil {
			return iothub.ErrUnauthorizedAccess.With("Unauthorized: %v", err)
		}
	} else if err := s.opts.Policies.Authorize(header, r.URL.Path, right); err != nil {
		return err
	}
	if !apiversion.Of(r.URL.Query()).Valid() {
		return iothub.ErrInvalidProtocol
	}
	return nil
}

// named refuses a path whose ids hold an encoded slash: none has one, and a device's id with it would read as a module's key.
func named(r *http.Request) error {
	for _, name := range []string{"id", "module"} {
		if id := r.PathValue(name); strings.Contains(id, "/") {
			return iothub.ErrArgumentInvalid.With("no id of the hub has a slash: %q", id)
		}
	}
	return nil
}

// key names the device or module of a request's path.
func key(r *http.Request) string { return entity.Key(r.PathValue("id"), r.PathValue("module")) }

func (s *Server) admit(r *http.Request, class tier.Class, n int) error {
	if s.opts.Admit == nil {
		return nil
	}
	return s.opts.Admit(r.Context(), class, n)
}

// meter counts an operation that was served (iot-hub-devguide-pricing).
func (s *Server) meter(bytes int) {
	if s.opts.Meter != nil {
		s.opts.Meter(bytes)
	}
}
