package rest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/hub/digitaltwins"
	"github.com/twinfleet/twinfleet/internal/hub/method"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// digitalTwinRoutes are the endpoints of IoT Plug and Play.
func (s *Server) digitalTwinRoutes(route func(pattern string, right policy.Rights, h handler)) {
	route("GET /digitaltwins/{id}", policy.ServiceConnect, s.getDigitalTwin)
	route("PATCH /digitaltwins/{id}", policy.ServiceConnect, s.patchDigitalTwin)
	command := s.wrap(policy.ServiceConnect, s.invokeCommand, errorbody.FormNested)
	s.mux.Handle("POST /digitaltwins/{id}/commands/{command}", command)
	s.mux.Handle("POST /digitaltwins/{id}/components/{component}/commands/{command}", command)
}

func (s *Server) getDigitalTwin(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassTwinRead, 1); err != nil {
		return err
	}
	t, err := s.opts.Twins.Twin(r.PathValue("id"))
	if err != nil {
		return err
	}
	body := digitaltwins.View(t).AppendJSON(nil)
	s.meter(len(body))
	w.Header().Set("ETag", `"`+etag.OfTwin(t.ETag)+`"`)
	return reply.Bytes(w, http.StatusOK, body)
}

// patchTries is how often a patch is made anew when somebody else writes the twin in the meantime.
const patchTries = 10

// patchDigitalTwin makes the patch of desired properties from the twin as it is, and writes it if the twin is still so.
func (s *Server) patchDigitalTwin(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	operations, err := s.opts.Twins.ParseValue(body)
	if err != nil {
		return iothub.ErrArgumentInvalid.With("Provided json is not valid: %v", err)
	}
	if err := s.admit(r, tier.ClassTwinUpdate, 1); err != nil {
		return err
	}
	id := r.PathValue("id")
	for try := 1; ; try++ {
		t, err := s.opts.Twins.Twin(id)
		if err != nil {
			return err
		}
		now := etag.OfTwin(t.ETag)
		if !etag.Matches(r.Header.Get("If-Match"), now) {
			return iothub.ErrPreconditionFailed.With("Precondition failed: the digital twin of '%s' has another ETag", id)
		}
		desired, err := digitaltwins.Patch(t, operations)
		if err != nil {
			return err
		}
		next, err := s.opts.Twins.PatchTwin(r.Context(), id, jsonvalue.Value{}, desired, now)
		if errors.Is(err, iothub.ErrPreconditionFailed) && try < patchTries {
			continue
		}
		if err != nil {
			return err
		}
		s.meter(len(body))
		w.Header().Set("ETag", `"`+etag.OfTwin(next.ETag)+`"`)
		w.Header().Set("Location", "/digitaltwins/"+url.PathEscape(id))
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
}

// invokeCommand calls a command: a direct method of its name, of a component behind the component's name and a *.
func (s *Server) invokeCommand(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(body) > 0 && !json.Valid(body) {
		return iothub.ErrArgumentInvalid.With("the payload of a command must be JSON")
	}
	call := methods.Request{Name: r.PathValue("command"), Payload: body}
	if component := r.PathValue("component"); component != "" {
		call.Name = component + "*" + call.Name
	}
	for name, into := range map[string]**int{"connectTimeoutInSeconds": &call.ConnectTimeout, "responseTimeoutInSeconds": &call.ResponseTimeout} {
		if text := r.URL.Query().Get(name); text != "" {
			seconds, err := strconv.Atoi(text)
			if err != nil {
				return iothub.ErrArgumentInvalid.With("%s must be a number of seconds", name)
			}
			*into = &seconds
		}
	}
	if err := method.Check(&call); err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassMethod, len(call.Payload)); err != nil {
		return err
	}
	status, payload, err := method.Call(r.Context(), s.opts.Devices, id, &call)
	s.meter(len(call.Payload))
	s.meter(len(payload))
	if err != nil {
		return err
	}
	if len(payload) == 0 { // What is no JSON goes as it is, as the answer to a method does.
		payload = []byte("null")
	}
	w.Header().Set("x-ms-command-statuscode", strconv.Itoa(status))
	return reply.Bytes(w, http.StatusOK, payload)
}
