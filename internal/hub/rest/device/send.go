package device

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/internal/hub/devices"
	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// batchType is the content type of several messages in one request (iot-hub-devguide-messages-d2c).
const batchType = "application/vnd.microsoft.iothub.json"

// appProperty marks the properties of the application among those of a message.
const appProperty = "iothub-app-"

// send takes one message, or a batch.
func (s *Server) send(w http.ResponseWriter, r *http.Request, c *caller) error {
	var batch []events.Message
	var err error
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); strings.EqualFold(kind, batchType) {
		batch, err = readBatch(r.Body)
	} else {
		batch, err = readMessage(r)
	}
	if err != nil {
		return err
	}
	if err := s.opts.Devices.Telemetry(r.Context(), c.client, devices.BatchOf(c.auth, batch)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// system is where a system property goes, by the name of its header in lower case; nil for what is none, and for headerExpiry
// (azure-iot-sdk-csharp, -java and -c, HTTP transports).
func system(m *events.Message, header string) *string {
	switch header {
	case "iothub-messageid":
		return &m.MessageID
	case "iothub-correlationid":
		return &m.CorrelationID
	case "iothub-userid":
		return &m.UserID
	case "iothub-to":
		return &m.To
	case "iothub-ack":
		return &m.Ack
	case "iothub-contenttype":
		return &m.ContentType
	case "iothub-contentencoding":
		return &m.ContentEncoding
	case "iothub-messageschema", "iothub-message-schema":
		return &m.Schema
	case "iothub-creationtimeutc", "iothub-creation-time-utc":
		return &m.CreatedText
	case "iothub-interface-id":
		return &m.InterfaceID
	case "iothub-outputname":
		return &m.Output
	case "dt-subject":
		return &m.Component
	}
	return nil
}

// headerExpiry says when a message is of no more use.
const headerExpiry = "iothub-expiry"

// message makes one of its payload and of its properties by name, of which the system's may be in any case. Of two names that mean the
// same the first counts. Names of headers that mean nothing here are passed over; with other it takes them for the application's.
func message(payload []byte, names []string, value func(name string) string, other bool) events.Message {
	known := events.Message{Payload: payload}
	var own topics.Bag
	for _, name := range names {
		lower := strings.ToLower(name)
		to := system(&known, lower)
		switch {
		case to != nil:
			*to = cmp.Or(*to, value(name))
		case lower == headerExpiry:
			if known.Expires.IsZero() {
				known.Expires = events.ParseTime(value(name))
			}
		case strings.HasPrefix(lower, appProperty):
			if short := name[len(appProperty):]; short != "" {
				own = append(own, topics.Property{Name: short, Value: value(name), HasValue: true})
			}
		case other && !strings.HasPrefix(lower, "iothub-"):
			own = append(own, topics.Property{Name: name, Value: value(name), HasValue: true})
		}
	}
	// What stands among the application's properties and is the system's gives way to what is the system's by its place.
	m := known
	m.SetApplication(own)
	m.Ack, m.Schema, m.Output = cmp.Or(known.Ack, m.Ack), cmp.Or(known.Schema, m.Schema), cmp.Or(known.Output, m.Output)
	m.CreatedText = cmp.Or(known.CreatedText, m.CreatedText)
	return m
}

// readMessage reads the one message of a request: its properties are headers, and the body its payload. The names of the application's
// properties are in lower case: HTTP does not keep it.
func readMessage(r *http.Request) ([]events.Message, error) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]string, len(r.Header))
	for name, values := range r.Header {
		byName[strings.ToLower(name)] = text(values[0])
	}
	names := slices.Sorted(maps.Keys(byName))
	return []events.Message{message(payload, names, func(name string) string { return byName[name] }, false)}, nil
}

// text is the value of a header: UTF-8, or else ISO 8859-1, as some clients write it.
func text(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	runes := make([]rune, len(value))
	for i := range len(value) {
		runes[i] = rune(value[i])
	}
	return string(runes)
}

// entry is a message of a batch.
type entry struct {
	Body       *string                    `json:"body"`
	Base64     *bool                      `json:"base64Encoded"` // true when it is left out
	Properties map[string]json.RawMessage `json:"properties"`
}

// readBatch reads a batch: an array of messages.
func readBatch(body io.Reader) ([]events.Message, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var in []entry
	switch err := json.Unmarshal(b, &in); {
	case err != nil:
		return nil, iothub.ErrDeserialization.With("the body is no batch of messages: %v", err)
	case len(in) == 0:
		return nil, iothub.ErrArgumentInvalid.With("a batch has at least one message")
	case len(in) > devices.MaxBatch:
		return nil, iothub.ErrArgumentInvalid.With("a batch has at most %d messages, not %d", devices.MaxBatch, len(in))
	}
	out := make([]events.Message, len(in))
	for i, e := range in {
		if e.Body == nil {
			return nil, iothub.ErrArgumentInvalid.With("message %d of the batch has no body", i+1)
		}
		payload := []byte(*e.Body)
		if e.Base64 == nil || *e.Base64 {
			if payload, err = base64.StdEncoding.DecodeString(*e.Body); err != nil {
				return nil, iothub.ErrArgumentInvalid.With("the body of message %d of the batch is not base64; say base64Encoded false for text", i+1)
			}
		}
		values := make(map[string]string, len(e.Properties))
		for name, value := range e.Properties {
			if values[name], err = plain(value); err != nil {
				return nil, iothub.ErrArgumentInvalid.With("property %.100q of message %d of the batch: %v", name, i+1, err)
			}
		}
		out[i] = message(payload, slices.Sorted(maps.Keys(values)), func(name string) string { return values[name] }, true)
	}
	return out, nil
}

// errValue is why a property is refused.
var errValue = errors.New("it must be text, a number, true or false")

// plain is the value of a property as text.
func plain(value json.RawMessage) (string, error) {
	value = bytes.TrimSpace(value)
	switch value[0] {
	case '"':
		var s string
		err := json.Unmarshal(value, &s)
		return s, err
	case '{', '[', 'n':
		return "", errValue
	}
	return string(value), nil // a number, true or false
}
