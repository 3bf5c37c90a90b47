package rest

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
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
	if len(payload) == 0 {
		payload = []byte("null")
	}
	// What the device said goes out as it is, also where it breaks the document: its fault is not to be hidden.
	return reply.Bytes(w, http.StatusOK, fmt.Appendf(nil, `{"status":%d,"payload":`, status), payload, []byte("}"))
}

// appProperty marks the headers that become a message's application properties.
const appProperty = "Iothub-App-"

// errNoEndpoint answers for paths that are no endpoint's.
var errNoEndpoint = iothub.ErrNotFound.With("the embedded hub has no such endpoint")

func (s *Server) sendMessage(w http.ResponseWriter, r *http.Request) error {
	if !strings.EqualFold(r.PathValue("direction"), "deviceBound") { // SDKs write it differently
		return errNoEndpoint
	}
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	m, err := message(r)
	if err != nil {
		return err
	}
	if m.Size() > c2d.MaxSize || len(m.Topic(id)) > c2d.MaxTopic {
		return iothub.ErrMessageTooLarge.With("a cloud-to-device message has at most %d bytes with its properties, which go into a topic of at most %d", c2d.MaxSize, c2d.MaxTopic)
	}
	if err := s.opts.Devices.Send(r.Context(), id, m); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// message is the one of a request: system properties and application properties are headers
// (iot-hub-devguide-messages-construct).
func message(r *http.Request) (c2d.Message, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return c2d.Message{}, err
	}
	h := r.Header
	m := c2d.Message{
		MessageID: h.Get("IotHub-MessageId"), CorrelationID: h.Get("IotHub-CorrelationId"), UserID: h.Get("IotHub-UserId"), Ack: h.Get("IotHub-Ack"),
		ContentType:     cmp.Or(h.Get("ContentType"), h.Get("IotHub-ContentType")),
		ContentEncoding: cmp.Or(h.Get("ContentEncoding"), h.Get("IotHub-ContentEncoding")),
		Payload:         body,
	}
	if !c2d.ValidAck(m.Ack) {
		return m, iothub.ErrArgumentInvalid.With("iothub-ack is none of none, positive, negative and full")
	}
	for _, header := range slices.Sorted(maps.Keys(h)) {
		if name, ok := strings.CutPrefix(header, appProperty); ok {
			// net/http spells header names its own way; properties sent over HTTP are in lower case.
			m.Properties = append(m.Properties, topics.Property{Name: strings.ToLower(name), Value: h.Get(header), HasValue: true})
		}
	}
	if expiry := h.Get("IotHub-Expiry"); expiry != "" {
		if m.Expires, err = time.Parse(time.RFC3339, expiry); err != nil {
			return m, iothub.ErrArgumentInvalid.With("iothub-expiry is not a time such as 2026-01-02T03:04:05Z")
		}
	}
	return m, nil
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if _, err := s.opts.Registry.Device(id); err != nil {
		return err
	}
	return reply.JSON(w, map[string]any{"deviceId": id, "moduleId": nil, "totalMessagesPurged": s.opts.Devices.Purge(id)})
}
