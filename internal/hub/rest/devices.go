package rest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/c2d"
	"github.com/twinfleet/twinfleet/internal/hub/method"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

func (s *Server) method(w http.ResponseWriter, r *http.Request) error {
	var in methods.Request
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	if err := method.Check(&in); err != nil {
		return err
	}
	id := key(r)
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassMethod, len(in.Payload)); err != nil {
		return err
	}
	status, payload, err := method.Call(r.Context(), s.opts.Devices, id, &in)
	// The request counts, and so does the answer, also one that did not come (iot-hub-devguide-pricing).
	s.meter(len(in.Payload))
	s.meter(len(payload))
	if err != nil {
		return err
	}
	if len(payload) == 0 || !json.Valid(payload) {
		payload = []byte("null")
	}
	return reply.JSON(w, methods.Response{Status: status, Payload: payload})
}

// appProperty marks the headers that become a message's application properties.
const appProperty = "Iothub-App-"

func (s *Server) sendMessage(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(body) > maxC2DBytes {
		return iothub.ErrMessageTooLarge.With("a cloud-to-device message has at most %d bytes", maxC2DBytes)
	}
	if err := s.admit(r, tier.ClassC2D, 1); err != nil {
		return err
	}
	m := c2d.Message{Payload: body}
	for header, name := range map[string]string{"Iothub-Messageid": "$.mid", "Iothub-Correlationid": "$.cid", "Iothub-Userid": "$.uid"} {
		if v := r.Header.Get(header); v != "" {
			m.Properties = append(m.Properties, topics.Property{Name: name, Value: v, HasValue: true})
		}
	}
	for header, values := range r.Header {
		if name, ok := strings.CutPrefix(header, appProperty); ok {
			// net/http spells header names its own way; properties sent over HTTP are in lower case.
			m.Properties = append(m.Properties, topics.Property{Name: strings.ToLower(name), Value: values[0], HasValue: true})
		}
	}
	if expiry := r.Header.Get("Iothub-Expiry"); expiry != "" {
		if m.Expires, err = time.Parse(time.RFC3339, expiry); err != nil {
			return iothub.ErrArgumentInvalid.With("iothub-expiry is not a time such as 2026-01-02T03:04:05Z")
		}
	}
	if err := s.opts.Devices.Send(id, m); err != nil {
		return err
	}
	s.meter(len(body) + m.Properties.Size())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	return reply.JSON(w, map[string]any{"deviceId": id, "moduleId": nil, "totalMessagesPurged": s.opts.Devices.Purge(id)})
}
