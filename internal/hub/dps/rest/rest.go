// Package rest is a provisioning service over HTTP: registrations and polls of devices, and for the service side
// enrollments, groups and registration states.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/dps/attest"
	"github.com/twinfleet/twinfleet/internal/hub/dps/book"
	"github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/dps/front"
	"github.com/twinfleet/twinfleet/internal/hub/dps/limits"
	"github.com/twinfleet/twinfleet/internal/hub/dps/registration"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// Service is what devices talk to. Errors are *iothub.Error.
type Service interface {
	Register(d attest.Device, apiVersion string, body []byte) (registration.Answer, error)
	Poll(d attest.Device, apiVersion, operationID string) (registration.Answer, error)
	Lookup(d attest.Device) (*dps.RegistrationState, error)
}

// Options of a Handler.
type Options struct {
	Service   Service                // required
	Book      *book.Book             // required
	Faults    *faults.Switch         // required
	Keys      []sas.Key              // of dps.ServicePolicy
	Bearer    bearer.Verifier        // bearer tokens that services may show instead; the zero value accepts none
	Linked    []string               // names of the hubs that enrollments may name
	Authority func(name string) bool // whether there is a certificate authority of that name; required
	Limiter   *limits.Limiter        // of the service side; nil for none
	Logger    *slog.Logger           // nil logs nothing
}

// maxBody bounds the body of a request of the service side, in bytes.
const maxBody = 4 << 20

// scopePrefix is how id scopes begin (concepts-service): by it a device's path is told from a hub's.
const scopePrefix = "0ne"

// Handler answers requests.
type Handler struct {
	opts Options
	log  *slog.Logger
}

// New makes a Handler.
func New(o Options) *Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{o, o.Logger}
}

// connKey finds the connection of a request.
type connKey struct{}

// WithConn makes the connection below a request known: the client certificate is there. It is for an http.Server's
// ConnContext.
func WithConn(ctx context.Context, nc any) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// endpoint answers a request, or returns an error, which is an *iothub.Error if the client is to know it.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// Owns reports whether a path is the provisioning service's, and not a hub's.
func (h *Handler) Owns(path string) bool {
	parts := segments(path)
	switch strings.ToLower(parts[0]) {
	case "enrollments", "enrollmentgroups", "registrations":
		return true
	}
	return len(parts) > 1 && strings.EqualFold(parts[1], "registrations") && strings.HasPrefix(strings.ToLower(parts[0]), scopePrefix)
}

// segments are the parts of a path; there is at least one, which may be empty.
func segments(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }

// Before gives the service's requests to the handler, and others to next.
func (h *Handler) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.Owns(r.URL.Path) {
			h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers a request. Words of paths may be in any case, and a slash may end them: SDKs differ.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	w.Header().Set("x-ms-request-id", uuid.New().String())
	parts := segments(r.URL.Path)
	var do endpoint
	switch strings.ToLower(parts[0]) {
	case "enrollments":
		do = h.service(h.enrollments(false, r.Method, parts[1:]))
	case "enrollmentgroups":
		do = h.service(h.enrollments(true, r.Method, parts[1:]))
	case "registrations":
		do = h.service(h.registrations(r.Method, parts[1:]))
	default:
		do = h.device(r.Method, parts)
	}
	if err := do(w, r); err != nil {
		h.fail(w, r, err)
	}
}

// fail answers with an error.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *iothub.Error
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		known = dps.ErrArgument.With("the request is larger than %d bytes", large.Limit)
	case !errors.As(err, &known):
		h.log.Error("request to the provisioning service failed", "method", r.Method, "error", err)
		known = dps.ErrServer
	}
	if known.RetryAfter > 0 {
		w.Header().Set("Retry-After", dps.Seconds(known.RetryAfter))
	}
	w.Header().Set("x-ms-error-code", strconv.Itoa(known.Code))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(known.Status)
	_, _ = w.Write(errorbody.MQTT(known, front.TrackingID(known.Code), time.Now()))
}

// write answers a status with a document.
func write(w http.ResponseWriter, status int, document any) error {
	b, err := json.Marshal(document)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that is gone is nobody to tell
	return nil
}

// refuse is an endpoint that there is not.
func refuse(err *iothub.Error) endpoint {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

// service lets the service side's clients through.
func (h *Handler) service(do endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := h.authorize(r); err != nil {
			return err
		}
		if wait, ok := h.opts.Limiter.Take(time.Now()); !ok {
			e := *dps.ErrThrottled
			e.RetryAfter = wait
			return &e
		}
		return do(w, r)
	}
}

// authorize checks the token of a client of the service side. Any host name is the service's: clients know it by different
// ones.
func (h *Handler) authorize(r *http.Request) error {
	header := r.Header.Get("Authorization")
	if token, is := bearer.Token(header); is {
		if err := h.opts.Bearer.Check(token, time.Now()); err != nil {
			return dps.ErrUnauthorizedHTTP.With("Unauthorized: %v", err)
		}
		return nil
	}
	token, err := sas.Parse(header)
	if err != nil {
		return dps.ErrUnauthorizedHTTP.With("Unauthorized: %v", err)
	}
	if token.Policy != dps.ServicePolicy {
		return dps.ErrUnauthorizedHTTP.With("Unauthorized: no such shared access policy")
	}
	if err := token.Verify(time.Now(), h.opts.Keys...); err != nil {
		return dps.ErrUnauthorizedHTTP.With("Unauthorized: %v", err)
	}
	host, _, _ := strings.Cut(token.Resource, "/")
	if !token.Covers(host + r.URL.Path) {
		return dps.ErrUnauthorizedHTTP.With("Unauthorized: the token is for another resource")
	}
	return nil
}

// device finds the endpoint of a device's request.
func (h *Handler) device(method string, parts []string) endpoint {
	word := func(i int) string { return strings.ToLower(parts[i]) }
	switch {
	case len(parts) == 3:
		return only(method, http.MethodPost, h.lookup(parts))
	case len(parts) == 4 && word(3) == "register":
		return only(method, http.MethodPut, h.register(parts))
	case len(parts) == 5 && word(3) == "operations":
		return only(method, http.MethodGet, h.poll(parts))
	default:
		return refuse(dps.ErrNotFound)
	}
}

func only(method, wanted string, do endpoint) endpoint {
	if method != wanted {
		return refuse(dps.ErrMethod)
	}
	return do
}

// who is the device that a request is of.
func who(r *http.Request, parts []string) attest.Device {
	d := attest.Device{IDScope: parts[0], RegistrationID: parts[2], Token: r.Header.Get("Authorization")}
	if d.Token == "" {
		d.Chain = front.Certificates(r.Context().Value(connKey{}))
	}
	return d
}

// version is the api-version of a request; an error when it is not one.
func version(r *http.Request) (string, error) {
	v := r.URL.Query().Get("api-version")
	if !dps.KnownVersion(v) {
		return "", dps.ErrArgument.With("api-version is missing or no date")
	}
	return v, nil
}

// overHTTP is an error as it is written over HTTP, where wrong credentials have another code (azure-iot-sdk-node issue 721).
func overHTTP(err error) error {
	if errors.Is(err, dps.ErrUnauthorized) {
		return dps.ErrUnauthorizedHTTP
	}
	return err
}

func (h *Handler) register(parts []string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := version(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, dps.MaxMessage))
		if err != nil {
			return err
		}
		answer, err := h.opts.Service.Register(who(r, parts), v, body)
		if err != nil {
			return overHTTP(err)
		}
		if faults.Draw(h.opts.Faults.Now().Close) {
			panic(http.ErrAbortHandler) // ends the connection without an answer
		}
		if id := answer.Operation.OperationID; id != "" {
			w.Header().Set("Location", dps.OperationPath(parts[0], parts[2], id)+"?api-version="+v)
		}
		return h.answer(w, answer)
	}
}

func (h *Handler) poll(parts []string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := version(r)
		if err != nil {
			return err
		}
		if faults.Draw(h.opts.Faults.Now().Mute) {
			<-r.Context().Done() // the client gives up
			return nil
		}
		answer, err := h.opts.Service.Poll(who(r, parts), v, parts[4])
		if err != nil {
			return overHTTP(err)
		}
		return h.answer(w, answer)
	}
}

func (h *Handler) answer(w http.ResponseWriter, a registration.Answer) error {
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", dps.Seconds(a.RetryAfter))
	}
	return write(w, a.Status, a.Operation)
}

func (h *Handler) lookup(parts []string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := version(r); err != nil {
			return err
		}
		state, err := h.opts.Service.Lookup(who(r, parts))
		if err != nil {
			return overHTTP(err)
		}
		return write(w, http.StatusOK, state)
	}
}
