// Package events is device-to-cloud messages as the hub knows them, whatever protocol they came by, and as readers of the
// Event-Hubs-compatible endpoint see them.
package events

import (
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// Auth is how the sender showed who it is: the annotation iothub-connection-auth-method (iot-hub-devguide-messages-d2c).
type Auth uint8

// The ways to show it. The zero value is a device's own key.
const (
	DeviceSAS  Auth = iota // a token signed with the device's key
	DeviceX509             // the device's certificate
	ModuleSAS              // a token signed with the module's key
	ModuleX509             // the module's certificate
	HubSAS                 // a token signed with the key of a shared access policy
	auths                  // how many there are
)

// String is the annotation, JSON; empty for what is none of the constants.
func (a Auth) String() string {
	if a >= auths {
		return ""
	}
	return [auths]string{
		`{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
		`{"scope":"device","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}`,
		`{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
		`{"scope":"module","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}`,
		`{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
	}[a]
}

// Message is a device-to-cloud message. What is empty is left out of what readers see.
type Message struct {
	DeviceID     string // required
	ModuleID     string // of a module; empty for a device
	GenerationID string // of the identity that sent it
	ModelID      string // that the device named when it connected: readers' dt-dataschema
	Auth         Auth   // how it showed who it is

	MessageID       string    // chosen by the sender
	CorrelationID   string    // of what it belongs to
	UserID          string    // who made it
	To              string    // where the sender says that it goes
	ContentType     string    // of the payload, such as application/json
	ContentEncoding string    // of the payload, such as utf-8
	Expires         time.Time // when it is of no more use, by the sender; the zero time for never
	Created         time.Time // when the sender made it, where its protocol has a place for that; else the zero time
	CreatedText     string    // when the sender made it, as it wrote it: iothub-creation-time-utc
	Ack             string    // which feedback the sender wants: none, positive, negative or full: iothub-ack
	Schema          string    // of the payload: iothub-message-schema
	Output          string    // of a module: iothub-outputname
	Input           string    // of a module, for which it is: x-opt-input-name
	InterfaceID     string    // the interface of the device's model that it belongs to: iothub-interface-id
	Component       string    // of the device's model: dt-subject
	DiagnosticID    string    // of a distributed trace: Diagnostic-Id
	Trace           string    // of a distributed trace: Correlation-Context

	Properties topics.Bag // of the application, in the sender's order; no name twice
	Payload    []byte     // any bytes
}

// Metered is the size of a message as limits and metering count it that came over AMQP or HTTPS: its payload, the values of the system
// properties, eight bytes for a date, and the names and values of the application's (iot-hub-devguide-messages-construct).
func (m *Message) Metered() int {
	n := len(m.Payload) + m.Properties.Size()
	for _, value := range [...]string{
		m.MessageID, m.CorrelationID, m.UserID, m.To, m.ContentType, m.ContentEncoding, m.CreatedText, m.Ack, m.Schema, m.Output, m.InterfaceID,
		m.Component, m.DiagnosticID, m.Trace,
	} {
		n += len(value)
	}
	for _, date := range [...]time.Time{m.Expires, m.Created} {
		if !date.IsZero() {
			n += 8
		}
	}
	return n
}

// Names of properties that stand among the application's and are the system's (iot-hub-devguide-messages-construct).
const (
	nameAck     = "iothub-ack"
	nameSchema  = "iothub-message-schema"
	nameOutput  = "iothub-outputname"
	nameCreated = "iothub-creation-time-utc"
)

// reserved is where a property goes that stands among the application's; nil for one that is the application's.
func (m *Message) reserved(name string) *string {
	switch name {
	case nameAck:
		return &m.Ack
	case nameSchema:
		return &m.Schema
	case nameOutput:
		return &m.Output
	case nameCreated:
		return &m.CreatedText
	}
	return nil
}

// system is where the system property of an MQTT topic goes (iot-mqtt-connect-to-iot-hub); nil for what is none.
func (m *Message) system(name string) *string {
	switch name {
	case "$.mid":
		return &m.MessageID
	case "$.cid":
		return &m.CorrelationID
	case "$.uid":
		return &m.UserID
	case "$.to":
		return &m.To
	case "$.ct":
		return &m.ContentType
	case "$.ce":
		return &m.ContentEncoding
	case "$.ctime":
		return &m.CreatedText
	case "$.on":
		return &m.Output
	case "$.sub":
		return &m.Component
	case "$.ifid":
		return &m.InterfaceID
	case "$.schema":
		return &m.Schema
	case "$.diagid":
		return &m.DiagnosticID
	case "$.diagctx":
		return &m.Trace
	}
	return nil
}

// SetBag takes the properties of an MQTT topic: the system's, whose names begin with "$.", and those of SetApplication. $.exp is a date of
// ISO 8601; what is none never expires.
func (m *Message) SetBag(bag topics.Bag) { m.set(bag, true) }

// SetApplication takes the properties of the application, among which some of the system's stand with names in full, such as iothub-ack.
// Of a name that comes twice the first counts, as in topics.Bag.Get; what is no UTF-8 in a name is replaced. Who sent the message only
// the hub says: what the sender says of that is passed over.
func (m *Message) SetApplication(bag topics.Bag) { m.set(bag, false) }

func (m *Message) set(bag topics.Bag, mqtt bool) {
	m.Properties = nil
	seen := newNames(len(bag))
	for _, p := range bag {
		p.Name = strings.ToValidUTF8(p.Name, "\uFFFD")
		if !seen.add(p.Name) {
			continue
		}
		to := m.reserved(p.Name)
		if to == nil && mqtt {
			to = m.system(p.Name)
		}
		switch {
		case to != nil:
			*to = p.Value
		case mqtt && p.Name == "$.exp":
			m.Expires = ParseTime(p.Value)
		case mqtt && (p.Name == "$.cdid" || p.Name == "$.cmid"), p.Name == "iothub-connection-device-id":
		default:
			m.Properties = append(m.Properties, p)
		}
	}
}

// ParseTime reads a date as SDKs write it: with a zone, or in UTC without one. It is the zero time for what is none.
func ParseTime(text string) time.Time {
	text = strings.ToUpper(text)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// names tells which names have been seen: of few by looking at all, since a message has few.
type names struct {
	few  []string
	many map[string]struct{}
}

// fewNames is up to how many names are looked through one by one.
const fewNames = 16

func newNames(n int) names {
	if n > fewNames {
		return names{many: make(map[string]struct{}, n)}
	}
	return names{few: make([]string, 0, fewNames)}
}

// add reports whether a name is new.
func (n *names) add(name string) bool {
	if n.many != nil {
		before := len(n.many)
		n.many[name] = struct{}{}
		return len(n.many) > before
	}
	for _, other := range n.few {
		if other == name {
			return false
		}
	}
	n.few = append(n.few, name)
	return true
}
