package failure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// However many kinds of failure there are, a handful are told apart, each with one of its devices, and none is left out.
func TestKindsAreBounded(t *testing.T) {
	var k Kinds
	if k.Add("dev-0", nil); k.Err() != nil {
		t.Errorf("without failures: %v", k.Err())
	}
	for i := range 100 {
		k.Add(fmt.Sprint("dev-", i), fmt.Errorf("failure %d: %w", i%10, iothub.ErrDeviceNotFound))
	}
	err := k.Err()
	if !errors.Is(err, iothub.ErrDeviceNotFound) {
		t.Errorf("%v is not of the class that was added", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxKinds+1 || !strings.HasPrefix(lines[0], "50 devices failed, among them dev-5:") {
		t.Errorf("%d lines, first %q; want %d, the fifty that have no place of their own first", len(lines), lines[0], maxKinds+1)
	}
}

// named is an error that knows its reason.
type named string

func (n named) Error() string  { return "error of dev-1: " + string(n) }
func (n named) Reason() string { return string(n) }

// Errors are counted by what the service calls them; those without a name of its own by what happened.
func TestCodesByName(t *testing.T) {
	var none *Codes
	none.Add(iothub.ErrThrottled) // counts nothing
	var c Codes
	for _, err := range []error{
		nil, iothub.ErrDeviceNotOnline, iothub.ErrDeviceNotOnline, ErrDeviceStatus, context.DeadlineExceeded, errors.New("x"), fmt.Errorf("y: %w", named("no JSON")),
	} {
		c.Add(err)
	}
	want := "[{404103 DeviceNotOnline 2} {device status 1} {no JSON 1} {no answer 1} {other 1}]"
	if got := fmt.Sprint(c.List()); got != want {
		t.Errorf("codes = %s; want %s", got, want)
	}
}
