package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// ofTransport plans a thousand devices of a group that speaks a transport: they come in a minute and stay for two hours.
func ofTransport(t *testing.T, group string) *plan.Plan {
	return planOf(t, "target: {tier: S1}\nfleet: {client: lean, groups: [{name: robots, count: 1000, telemetry: {every: 1m}, "+group+"}]}\n"+
		"stages: [{name: up, devices: 100%, duration: 60s}, {name: hold, duration: 2h, storm: {drop: 50%, within: 1s}}]\n", plan.Options{})
}

func total(p *plan.Plan, op metrics.Operation) float64 {
	if l := p.Find(op); l != nil {
		return l.Total
	}
	return 0
}

// What devices ask for follows from what they speak: over MQTT a token that ends costs a connection, over AMQP a renewal on the living one,
// over HTTPS nothing, and there are no twins.
func TestTransports(t *testing.T) {
	for _, tt := range []struct {
		group                    string
		connects, renewals, gets float64
		connections              int
		counted                  bool // connections count for the tier's limit
	}{
		{"transport: mqtt, tokens: {life: 1h}", 3500, 0, 3500, 1000, true},
		{"transport: mqtt_ws, tokens: {life: 1h}", 3500, 0, 3500, 1000, true},
		{"transport: amqp, tokens: {life: 1h}", 1500, 2000, 1500, 1000, true},
		{"transport: amqp_ws, devices_per_connection: 300, tokens: {life: 1h}", 1500, 2000, 1500, 4, true},
		{"transport: amqp", 1500, 0, 1500, 1000, true},
		{"transport: https, tokens: {life: 1h}", 1500, 0, 0, 1000, false},
	} {
		p := ofTransport(t, tt.group)
		// Those whose connection the storm cuts have a token that is younger.
		near := func(got, want float64) bool { return got >= want*0.75 && got <= want*1.25 }
		if c, r, g := total(p, metrics.OpConnect), total(p, metrics.OpRenew), total(p, metrics.OpTwinGet); !near(c, tt.connects) || !near(r, tt.renewals) || !near(g, tt.gets) {
			t.Errorf("%s: %.0f connects, %.0f renewals, %.0f twins read; want about %.0f, %.0f, %.0f", tt.group, c, r, g, tt.connects, tt.renewals, tt.gets)
		}
		const service = 40
		if m := p.Machine; m.Ports != tt.connections+service {
			t.Errorf("%s: %d ports; want %d", tt.group, m.Ports, tt.connections+service)
		}
		limits := fmt.Sprint(p.Tier.Limits)
		if strings.Contains(limits, plan.ClassConnections) != tt.counted {
			t.Errorf("%s: limits %s; connections among them: %v", tt.group, limits, tt.counted)
		}
		if got := total(p, metrics.OpTelemetry); !near(got, 121_000) {
			t.Errorf("%s: %.0f messages", tt.group, got)
		}
	}
}

// Many devices on few connections take less memory than with one each, and a connection of AMQP more than one of MQTT.
func TestMemoryOfTransports(t *testing.T) {
	const azure = "target: {hub: \"HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=a2V5\"}\n"
	memory := func(group string) float64 {
		p := planOf(t, azure+"fleet: {client: lean, groups: [{name: robots, count: 20000, "+group+"}]}\nstages: [{name: up, devices: 100%, duration: 10m}]\n", plan.Options{})
		return float64(p.Machine.Memory) / 20_000
	}
	mqtt, amqp, shared, https := memory("transport: mqtt"), memory("transport: amqp"), memory("transport: amqp, devices_per_connection: 500"), memory("transport: https")
	if !(shared < mqtt && mqtt < amqp) || https < shared {
		t.Errorf("bytes a device: mqtt %.0f, amqp %.0f, shared %.0f, https %.0f", mqtt, amqp, shared, https)
	}
	t.Logf("bytes a device: mqtt %.0f, amqp %.0f, shared %.0f, https %.0f", mqtt, amqp, shared, https)
}
