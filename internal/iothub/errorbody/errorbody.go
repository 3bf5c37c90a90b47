// Package errorbody is how IoT Hub writes an error into the body of an answer: three encodings of one
// [iothub.Error].
package errorbody

import (
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

type plainBody struct {
	ErrorCode  int               `json:"errorCode"`
	TrackingID string            `json:"trackingId"`
	Message    string            `json:"message"`
	Info       map[string]string `json:"info,omitempty"`
	Timestamp  timestamp.Time    `json:"timestampUtc"`
}

type restBody struct {
	Message          string `json:"Message"`
	ExceptionMessage string `json:"ExceptionMessage"`
}

// MQTT is the body of an error answer on MQTT. Clients of the service read errorCode in it.
func MQTT(e *iothub.Error, trackingID string, now time.Time) []byte {
	return mustJSON(plainBody{e.Code, trackingID, e.Message, e.Info, timestamp.Time{Time: now}})
}

// REST is the body of an error answer on REST: the text form, which most endpoints use.
func REST(e *iothub.Error, trackingID string, now time.Time) []byte {
	return mustJSON(restBody{
		Message:          "ErrorCode:" + e.Name + ";" + e.Message,
		ExceptionMessage: "Tracking ID:" + trackingID + "-TimeStamp:" + now.UTC().Format("01/02/2006 15:04:05"),
	})
}

// Nested is the body of an error answer of direct methods: JSON inside the text.
func Nested(e *iothub.Error, trackingID string, now time.Time) []byte {
	return mustJSON(restBody{Message: string(MQTT(e, trackingID, now))})
}

// Form is an encoding of error answers on REST.
type Form uint8

// The encodings: most endpoints answer text, direct methods answer JSON inside the text.
const (
	FormText   Form = iota // "ErrorCode:Name;text"
	FormNested             // the JSON of MQTT within the text
)

// Of is the body of an error answer in one of the encodings. For a module that exists already the service
// answers the JSON of MQTT on every endpoint (seen at the service).
func Of(e *iothub.Error, form Form, trackingID string, now time.Time) []byte {
	switch {
	case e.Code == iothub.ErrModuleExists.Code:
		return MQTT(e, trackingID, now)
	case form == FormNested:
		return Nested(e, trackingID, now)
	}
	return REST(e, trackingID, now)
}

// mustJSON encodes the plain structs of this file, which cannot fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(`{}`)
	}
	return b
}
