package target_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

func ExampleTarget_Endpoint() {
	for _, hub := range []string{
		"mqtts://broker.example", "ws://broker.example/mqtt?x=1",
		"HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=a2V5",
	} {
		t := target.Target{Hub: hub}
		t.Resolve()
		x, err := t.Endpoint()
		fmt.Println(t.Can().Name, x.Addr, x.TLS, x.Path, err)
	}
	// Output:
	// MQTT broker broker.example:8883 true  <nil>
	// MQTT broker broker.example:80 false /mqtt?x=1 <nil>
	// IoT Hub h.azure-devices.net:8883 true  <nil>
}

// told is the mistakes of a target, and the keys that its file gives.
type told struct {
	given    string
	mistakes []string
}

func (x *told) Given(path string) bool { return path == x.given }

func (x *told) FailAt(path string, _ problem.Place, format string, a ...any) {
	x.mistakes = append(x.mistakes, path+": "+fmt.Sprintf(format, a...))
}

// What a kind does not have may not be asked of it.
func TestValidate(t *testing.T) {
	for _, tt := range []struct{ hub, given, want string }{
		{"embedded", "target.topic", "target.topic: only a plain broker has topic"},
		{"embedded", "target.units", "target.units: units is a tier's"},
		{"mqtt://broker", "target.tier", "target.tier: only the embedded hub has a tier"},
		{"mqtt://broker:70000", "", "target.hub: there is no port 70000"},
		{"amqp://broker", "", "target.hub: unknown scheme amqp://"},
		{"mqtt://u:p@broker", "", "target.hub: put user name and password into"},
		{"mqtt://broker", "", ""},
		{"embedded", "", ""},
	} {
		x, told := target.Target{Hub: tt.hub}, told{given: tt.given}
		x.Resolve()
		x.Validate(&told)
		if got := strings.Join(told.mistakes, "\n"); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s with %s: %q; want %q", tt.hub, tt.given, got, tt.want)
		}
	}
	if x := (target.Target{Hub: "somewhere"}); x.Resolve() || x.Kind != target.Unknown {
		t.Error("somewhere is a target")
	}
}
