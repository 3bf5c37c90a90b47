// Package rest is the service side of the embedded hub: registry, twins, queries, direct methods,
// messages and jobs over HTTP, as Azure IoT Hub answers them.
package rest

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/hub/transfer"
	"github.com/twinfleet/twinfleet/internal/iothub"
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
	Send(deviceID string, m c2d.Message) error
	Purge(deviceID string) int
}

// Jobs carries out scheduled jobs. Errors are *iothub.Error.
type Jobs interface {
	Create(job jobs.Job) (jobs.Job, error)
	Job(id string) (jobs.Job, error)
	Cancel(id string) (jobs.Job, error)
	List(jobType, status string) []jobs.Job
	Query(ctx context.Context, q *query.Query, size int, continuation string) (paging.Page, error)
}

// Options of a Server. All but Admit and Logger are required.
type Options struct {
	Registry Registry    // answers /devices
	Twins    Twins       // answers /twins
	Source   plan.Source // what queries on devices read
	Modules  plan.Source // what queries on devices.modules read
	Devices  Devices     // direct methods and messages go there
	Jobs     Jobs        // answers /jobs

	Configurations Configurations    // answers /configurations
	Transfers      Transfers         // answers /jobs, but for /jobs/v2
	Storage        *transfer.Storage // answers /storage
	Policies       policy.Set        // whose tokens are accepted
	// Admit waits until an operation of a class may go on, or returns the error for the client. n is
	// devices for the registry, bytes of payload for direct methods, else 1. Nil lets everything pass.
	Admit func(ctx context.Context, class tier.Class, n int) error
	// Meter counts one operation of so many bytes against the day's messages; nil counts nothing.
	Meter func(bytes int)
	// Wait holds a request back, for the fault switch; nil for none.
	Wait   func(ctx context.Context)
	Logger *slog.Logger // nil logs nothing
}

// Server answers the service side's requests.
type Server struct {
	opts Options
	mux  *http.ServeMux
}

const (
	defaultPage = 100 // items of a query's page
	maxPage     = 1000
	maxC2DBytes = 64 << 10 // a cloud-to-device message (iot-hub-devguide-quotas-throttling)
)

// handler answers one endpoint: with a status and a body, or with an error.
type handler func(w http.ResponseWriter, r *http.Request) error

// New makes a Server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, mux: http.NewServeMux()}
	route := func(pattern string, right policy.Rights, h handler) {
		s.mux.Handle(pattern, s.wrap(right, h, errorbody.FormText))
	}
	for _, path := range []string{"/devices/{id}", "/devices/{id}/modules/{module}"} {
		route("PUT "+path, policy.RegistryWrite, s.putIdentity)
		route("GET "+path, policy.RegistryRead, s.getIdentity)
		route("DELETE "+path, policy.RegistryWrite, s.deleteIdentity)
	}
	route("GET /devices/{id}/modules", policy.RegistryRead, s.listModules)
	for _, path := range []string{"/devices", "/devices/{$}"} {
		route("GET "+path, policy.RegistryRead, s.listDevices)
		route("POST "+path, policy.RegistryWrite, s.bulk)
	}
	route("GET /statistics/devices", policy.RegistryRead, s.registryStatistics)
	route("GET /statistics/service", policy.ServiceConnect, s.serviceStatistics)
	for _, path := range []string{"/twins/{id}", "/twins/{id}/modules/{module}"} {
		route("GET "+path, policy.ServiceConnect, s.getTwin)
		route("PATCH "+path, policy.ServiceConnect, s.patchTwin)
		route("PUT "+path, policy.ServiceConnect, s.putTwin)
		s.mux.Handle("POST "+path+"/methods", s.wrap(policy.ServiceConnect, s.method, errorbody.FormNested))
	}
	route("POST /devices/query", policy.ServiceConnect, s.query)
	route("POST /devices/{id}/messages/deviceBound", policy.ServiceConnect, s.sendMessage)
	route("DELETE /devices/{id}/commands", policy.ServiceConnect, s.purge)
	route("PUT /jobs/v2/{id}", policy.ServiceConnect, s.createJob)
	route("GET /jobs/v2/{id}", policy.ServiceConnect, s.getJob)
	route("POST /jobs/v2/{id}/cancel", policy.ServiceConnect, s.cancelJob)
	route("GET /jobs/v2/query", policy.ServiceConnect, s.listJobs)
	s.configurationRoutes(route)
	s.digitalTwinRoutes(route)
	s.transferRoutes(route)
	s.mux.Handle("/", s.wrap(0, func(http.ResponseWriter, *http.Request) error {
		return iothub.ErrInvalidOperation.With("the embedded hub has no such endpoint")
	}, errorbody.FormText))
	return s
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// wrap checks the caller's right, bounds the body, and writes errors as the endpoint's clients expect them.
func (s *Server) wrap(right policy.Rights, h handler, body errorbody.Form) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.opts.Wait != nil {
			s.opts.Wait(r.Context())
		}
		reply.Bound(w, r)
		err := s.opts.Policies.Authorize(r.Header.Get("Authorization"), r.URL.Path, right)
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			reply.Error(w, r, err, body, s.opts.Logger)
		}
	})
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
