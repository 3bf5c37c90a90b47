// Package method holds the rules of direct methods that REST calls and jobs share
// (iot-hub-devguide-direct-methods).
package method

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// Limits of direct methods (iot-hub-devguide-direct-methods).
const (
	MaxPayload  = 128 << 10 // bytes, each way
	DefaultWait = 30 * time.Second
)

// maxName is the longest name of a method, in bytes: it is one level of a topic.
const maxName = 1024

// poll is how often a call checks whether the device it waits for has come.
const poll = 100 * time.Millisecond

// Caller calls a method of a connected device and waits for the answer until ctx ends. It returns
// iothub.ErrDeviceNotOnline or iothub.ErrMethodTimeout.
type Caller interface {
	InvokeMethod(ctx context.Context, deviceID, name string, payload []byte) (status int, answer []byte, err error)
}

// Check refuses calls that cannot be sent: iothub.ErrArgumentInvalid or iothub.ErrMessageTooLarge.
func Check(call *methods.Request) error {
	switch {
	case call == nil:
		return iothub.ErrArgumentInvalid.With("the method call is missing")
	case call.Name == "" || len(call.Name) > maxName || strings.ContainsAny(call.Name, "/#+?\x00"):
		return iothub.ErrArgumentInvalid.With("methodName must be 1 to %d bytes without / # + ?", maxName)
	case outside(call.ResponseTimeout, methods.MinResponse, methods.MaxResponse):
		return iothub.ErrArgumentInvalid.With("responseTimeoutInSeconds must be within [%.0f; %.0f].", methods.MinResponse.Seconds(), methods.MaxResponse.Seconds())
	case outside(call.ConnectTimeout, 0, methods.MaxConnect):
		return iothub.ErrArgumentInvalid.With("connectTimeoutInSeconds must be within [0; %.0f].", methods.MaxConnect.Seconds())
	case limit(call.ConnectTimeout, 0) > limit(call.ResponseTimeout, DefaultWait):
		return iothub.ErrArgumentInvalid.With("connectTimeoutInSeconds must not be larger than responseTimeoutInSeconds.")
	case len(call.Payload) > MaxPayload:
		return iothub.ErrMessageTooLarge.With("a method's payload has at most %d bytes", MaxPayload)
	}
	return nil
}

// Call calls a method. It waits for the device to connect if the call asks for that. An error has a
// detail "timeout" that says how long was waited for what did not come.
func Call(ctx context.Context, c Caller, deviceID string, call *methods.Request) (int, []byte, error) {
	connect := limit(call.ConnectTimeout, 0)
	response := limit(call.ResponseTimeout, DefaultWait)
	began := time.Now()
	for {
		limited, cancel := context.WithTimeout(ctx, response)
		status, answer, err := c.InvokeMethod(limited, deviceID, call.Name, call.Payload)
		cancel()
		absent := errors.Is(err, iothub.ErrDeviceNotOnline)
		if absent && time.Since(began)+poll <= connect && pause(ctx) {
			continue
		}
		switch {
		case absent:
			return 0, nil, iothub.AsError(err).WithInfo("timeout", clock(connect))
		case err != nil:
			return 0, nil, iothub.AsError(err).WithInfo("timeout", clock(response))
		}
		return status, answer, nil
	}
}

// outside reports whether a time-out was given that is not in a range.
func outside(seconds *int, low, high time.Duration) bool {
	return seconds != nil && (*seconds < int(low/time.Second) || *seconds > int(high/time.Second))
}

func limit(seconds *int, none time.Duration) time.Duration {
	if seconds == nil {
		return none
	}
	return time.Duration(*seconds) * time.Second
}

// pause waits before the next check of the device; false when ctx ended first.
func pause(ctx context.Context) bool {
	return wait.For(ctx, poll) == nil
}

// clock is a time as the service writes it in an error: hours, minutes, seconds.
func clock(d time.Duration) string { return time.Time{}.Add(d).Format("15:04:05") }
