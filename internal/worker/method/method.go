// Package method calls direct methods of one device after the other.
package method

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
)

// Caller calls a direct method and waits for the device's answer.
type Caller interface {
	InvokeMethod(ctx context.Context, id string, call methods.Request) (methods.Response, error)
}

// answerMargin is how much longer than a device may take the service's own answer is waited for.
const answerMargin = 10 * time.Second

// Call makes an operation of a pace.Load: it calls a method of one device after the other, in the order
// given. A device's answer with a status of 400 or above is an error, failure.ErrDeviceStatus.
func Call(
	service Caller, ids []string, order []int, method string, payload json.RawMessage, timeout time.Duration,
) func(context.Context, int64) error {
	call := methods.Request{Name: method, Payload: payload, ResponseTimeout: methods.Seconds(timeout)}
	return func(ctx context.Context, n int64) error {
		ctx, cancel := context.WithTimeout(ctx, timeout+answerMargin)
		defer cancel()
		id := ids[order[n%int64(len(order))]]
		answer, err := service.InvokeMethod(ctx, id, call)
		if err == nil && answer.Status >= 400 {
			err = fmt.Errorf("%w: %d", failure.ErrDeviceStatus, answer.Status)
		}
		return err
	}
}
