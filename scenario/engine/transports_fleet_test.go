//go:build integration

package engine_test

import (
	"os"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/metrics"
)

// 30,000 devices in one fleet: 5,000 with AMQP connections of their own, 20,000 on 40 that they share, 2,000 over HTTPS and 3,000 over MQTT.
// All connect, report and send, what is sent is read at the hub, and four of the shared connections that are cut take 500 devices each with
// them, all of which come back. make bench-transports is the same over TCP.
func TestEveryTransportInAFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text, err := os.ReadFile("../../test/scenarios/every-transport.yaml")
		if err != nil {
			t.Fatal(err)
		}
		run := newEngine(decode(t, string(text), "target={hub: embedded}"), newWatcher()).Run(t.Context())
		if problem := flawless(run); problem != "" {
			t.Fatal(problem)
		}
		accounts(t, run)
		for group, n := range map[string]uint64{"robots": 3000, "doors": 5000, "sensors": 20_000, "meters": 2000} {
			connects := n
			if group == "sensors" {
				connects += 4 * 500
			}
			if x := run.Totals.Find(metrics.OpConnect, group); x.Count(metrics.OK) != connects {
				t.Errorf("%s: connections: %s; want %d", group, outcomes(x), connects)
			}
			sent, read := run.Totals.Find(metrics.OpTelemetry, group), run.Totals.Find(metrics.OpDelivery, group)
			if sent.Count(metrics.OK) < 2*n || read.Count(metrics.OK) != sent.Count(metrics.OK) {
				t.Errorf("%s: sent: %s; read: %s; want two messages of each of %d devices, and each of them read", group, outcomes(sent), outcomes(read), n)
			}
			if x := run.Totals.Find(metrics.OpTwinReport, group); (x != nil && x.Count(metrics.OK) >= 2*n) != (group != "meters") {
				t.Errorf("%s: reports: %s", group, outcomes(x))
			}
		}
		if x := run.Totals.Find(metrics.OpConnect, "sensors"); x.Errors() > 0 || lost(run) != 4*500 {
			t.Errorf("%d connections were lost; want those of 2,000 devices", lost(run))
		}
	})
}
