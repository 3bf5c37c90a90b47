// Package methods is the documents of direct methods (iot-hub-devguide-direct-methods).
package methods

import (
	"encoding/json"
	"math"
	"time"
)

// The limits of a call's time-outs: what the service takes for the answer (an answer of the service to 4 and to 301),
// and at most for the device to connect (iot-hub-devguide-direct-methods).
const (
	MinResponse = 5 * time.Second
	MaxResponse = 300 * time.Second
	MaxConnect  = 300 * time.Second
)

// Request is the body of a direct method call.
type Request struct {
	Name            string          `json:"methodName"`                         // at most 100 letters, digits, _ and -
	Payload         json.RawMessage `json:"payload,omitempty"`                  // any JSON, at most 128 KB; absent for none
	ResponseTimeout *int            `json:"responseTimeoutInSeconds,omitempty"` // seconds, MinResponse to MaxResponse; 30 when nil
	ConnectTimeout  *int            `json:"connectTimeoutInSeconds,omitempty"`  // seconds to wait for the device to connect, up to MaxConnect; 0 when nil
}

// Seconds is a time-out of a call: whole seconds, those that are begun included.
func Seconds(d time.Duration) *int {
	n := int(math.Ceil(d.Seconds()))
	return &n
}

// Response is a device's answer to a direct method call.
type Response struct {
	Status  int             `json:"status"`  // the device's own, 200 for success by custom
	Payload json.RawMessage `json:"payload"` // any JSON; null when the device sent none
}
