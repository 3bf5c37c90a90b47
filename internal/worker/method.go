package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/methods"
)

// ErrDeviceStatus is the class of errors of devices that answered a direct method with a status of failure.
var ErrDeviceStatus = errors.New("the device answered with a status of failure")

// MethodCaller calls a direct method and waits for the device's answer.
type MethodCaller interface {
	InvokeMethod(ctx context.Context, id string, call methods.Request) (methods.Response, error)
}

// answerMargin is how much longer than a device may take the service's own answer is waited for.
const answerMargin = 10 * time.Second

// CallMethod makes an operation of a Load: it calls a method of one device after the other, in the order
// given. A device's answer with a status of 400 or above is an error, ErrDeviceStatus.
func CallMethod(service MethodCaller, ids []string, order []int, method string, payload json.RawMessage, timeout time.Duration) func(context.Context, int64) error {
	call := methods.Request{Name: method, Payload: payload, ResponseTimeout: int(math.Ceil(timeout.Seconds()))}
	return func(ctx context.Context, n int64) error {
		ctx, cancel := context.WithTimeout(ctx, timeout+answerMargin)
		defer cancel()
		id := ids[order[n%int64(len(order))]]
		answer, err := service.InvokeMethod(ctx, id, call)
		if err == nil && answer.Status >= 400 {
			err = fmt.Errorf("%w: %d", ErrDeviceStatus, answer.Status)
		}
		return err
	}
}

// readTimeout is how long a twin read may take.
const readTimeout = time.Minute

// ReadTwins makes an operation of a Load: it reads one twin after the other, in the order given.
func ReadTwins(service TwinReader, ids []string, order []int) func(context.Context, int64) error {
	return func(ctx context.Context, n int64) error {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		_, err := service.Twin(ctx, ids[order[n%int64(len(order))]])
		return err
	}
}
