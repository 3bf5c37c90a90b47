package method

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
)

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name string
		call *methods.Request
		want error
	}{
		{"a plain call", &methods.Request{Name: "reboot"}, nil},
		{"signs and spaces", &methods.Request{Name: "re-boot_1.0 now"}, nil},
		{"the largest payload", &methods.Request{Name: "m", Payload: []byte(strings.Repeat("1", MaxPayload))}, nil},
		{"none", nil, iothub.ErrArgumentInvalid},
		{"no name", &methods.Request{}, iothub.ErrArgumentInvalid},
		{"a name of two topic levels", &methods.Request{Name: "a/b"}, iothub.ErrArgumentInvalid},
		{"a name with a wildcard", &methods.Request{Name: "a#"}, iothub.ErrArgumentInvalid},
		{"a name that is too long", &methods.Request{Name: strings.Repeat("a", maxName+1)}, iothub.ErrArgumentInvalid},
		{"a time to connect below 0", times(-1, 30), iothub.ErrArgumentInvalid},
		{"the shortest time-outs", times(0, 5), nil},
		{"the longest time-outs", times(300, 300), nil},
		{"both the same", times(5, 5), nil},
		{"no time to answer", times(0, 0), iothub.ErrArgumentInvalid},
		{"too short a time to answer", times(0, 4), iothub.ErrArgumentInvalid},
		{"too long a time to answer", times(0, 301), iothub.ErrArgumentInvalid},
		{"too long a time to connect", times(301, 300), iothub.ErrArgumentInvalid},
		{"a longer time to connect than to answer", times(31, 30), iothub.ErrArgumentInvalid},
		{"a longer one than the usual to answer", &methods.Request{Name: "m", ConnectTimeout: methods.Seconds(31 * time.Second)}, iothub.ErrArgumentInvalid},
		{"a larger payload", &methods.Request{Name: "m", Payload: []byte(strings.Repeat("1", MaxPayload+1))}, iothub.ErrMessageTooLarge},
	} {
		if err := Check(tt.call); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, err, tt.want)
		}
	}
}

func times(connect, response int) *methods.Request {
	return &methods.Request{Name: "m", ConnectTimeout: &connect, ResponseTimeout: &response}
}

// The words of the service.
func TestWords(t *testing.T) {
	err := iothub.AsError(Check(times(0, 4)))
	if err.Status != 400 || err.Code != 400004 || err.Message != "responseTimeoutInSeconds must be within [5; 300]." {
		t.Errorf("%d %d %s", err.Status, err.Code, err.Message)
	}
}

// device connects at a time and answers after a time; below 0 it never does.
type device struct{ connects, answers time.Duration }

func (d device) caller() Caller { return &caller{device: d, began: time.Now()} }

type caller struct {
	device
	began time.Time
}

func (c *caller) InvokeMethod(ctx context.Context, _, name string, payload []byte) (int, []byte, error) {
	if c.connects < 0 || time.Since(c.began) < c.connects {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	if c.answers >= 0 {
		select {
		case <-time.After(c.answers):
			return 200, append([]byte(name), payload...), nil
		case <-ctx.Done():
		}
	}
	<-ctx.Done()
	return 0, nil, iothub.ErrMethodTimeout
}

func TestCall(t *testing.T) {
	for _, tt := range []struct {
		name     string
		device   device
		connect  int
		response int
		took     time.Duration
		want     error
		timeout  string
	}{
		{"an answer", device{0, time.Second}, 0, 0, time.Second, nil, ""},
		{"no answer in the default time", device{0, -1}, 0, 0, 30 * time.Second, iothub.ErrMethodTimeout, "00:00:30"},
		{"no answer in the time asked for", device{0, -1}, 0, 70, 70 * time.Second, iothub.ErrMethodTimeout, "00:01:10"},
		{"no answer in the longest time", device{0, -1}, 0, 300, 300 * time.Second, iothub.ErrMethodTimeout, "00:05:00"},
		{"not connected", device{-1, 0}, 0, 0, 0, iothub.ErrDeviceNotOnline, "00:00:00"},
		{"not connected in the time asked for", device{-1, 0}, 60, 0, 60 * time.Second, iothub.ErrDeviceNotOnline, "00:01:00"},
		{"connected in the meantime", device{5 * time.Second, time.Second}, 60, 0, 6 * time.Second, nil, ""},
		{"connected too late", device{5 * time.Second, time.Second}, 4, 0, 4 * time.Second, iothub.ErrDeviceNotOnline, "00:00:04"},
		{"the time to answer begins when it is asked", device{5 * time.Second, -1}, 60, 10, 15 * time.Second, iothub.ErrMethodTimeout, "00:00:10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				call := &methods.Request{Name: "reboot", Payload: []byte("1"), ConnectTimeout: &tt.connect}
				if tt.response > 0 {
					call.ResponseTimeout = &tt.response
				}
				status, answer, err := Call(t.Context(), tt.device.caller(), "dev-1", call)
				if !errors.Is(err, tt.want) || time.Since(began) != tt.took {
					t.Errorf("Call = %v after %v; want %v after %v", err, time.Since(began), tt.want, tt.took)
				}
				if tt.want == nil && (status != 200 || string(answer) != "reboot1") {
					t.Errorf("answer = %d %q; want 200 reboot1", status, answer)
				}
				if tt.want != nil && iothub.AsError(err).Info["timeout"] != tt.timeout {
					t.Errorf("timeout = %q; want %q", iothub.AsError(err).Info["timeout"], tt.timeout)
				}
			})
		})
	}
}

func TestCallEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, _, err := Call(ctx, device{-1, 0}.caller(), "dev-1", times(60, 60))
		if !errors.Is(err, iothub.ErrDeviceNotOnline) || time.Since(began) != time.Second {
			t.Errorf("Call = %v after %v; want it to end with its context after 1s", err, time.Since(began))
		}
	})
}
