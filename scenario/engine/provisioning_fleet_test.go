//go:build !race

package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Ten thousand devices boot for the first time: they provision, connect, report. Then the same with a service that takes a thousand
// registrations and a thousand polls a minute, as Azure's does: it takes nine minutes at least, and every device gets there.
func TestTenThousandDevicesProvision(t *testing.T) {
	t.Parallel()
	const n = 10_000
	for name, tt := range map[string]struct {
		fault       string
		least, most time.Duration // of the longest registration
		throttled   bool
	}{
		"a service without limits": {"{}", 2 * time.Second, 5 * time.Second, false},
		"Azure's limits":           {"{registrations_per_minute: 1000, polls_per_minute: 1000}", 9 * time.Minute, 30 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := "fleet: {client: lean, groups: [{name: robots, count: 10000, identity: {dps: {timeout: 1h}}, reported: {connectivity: {type: wifi}}}]}\n" +
					"stages: [{name: boot, devices: 100%, connect_rate: 5000/s, hub: {dps: " + tt.fault + "}, " +
					"steps: [{await: {connected: 100%, reported: 100%, within: 1h}}]}, {name: calm, duration: 1s}]"
				run := newEngine(decode(t, text), newWatcher()).Run(t.Context())
				p := provisioned(t, run)
				if run.Outcome != report.Passed || p != (report.Provisioned{Group: "robots", Devices: n, Assigned: n, Connected: n}) {
					t.Fatalf("%+v; the run %s: %s", p, run.Outcome, run.Reason)
				}
				whole := run.Totals.Find(metrics.OpDPSRegister, "robots")
				put, get := run.Totals.Find(metrics.OpDPSPut, "robots"), run.Totals.Find(metrics.OpDPSGet, "robots")
				if whole.Count(metrics.OK) != n || whole.Scheduled() != n || put.Count(metrics.OK) != n || put.Errors()+get.Errors() > 0 {
					t.Errorf("%d of %d registrations, %d requests accepted, %d and %d errors", whole.Count(metrics.OK), whole.Scheduled(), put.Count(metrics.OK),
						put.Errors(), get.Errors())
				}
				if thrown := put.Count(metrics.Throttled) + get.Count(metrics.Throttled); thrown > 0 != tt.throttled {
					t.Errorf("%d requests were thrown back", thrown)
				}
				if took := whole.Latency(false).Maximum(); took < tt.least || took > tt.most {
					t.Errorf("the longest registration took %v; want %v to %v", took, tt.least, tt.most)
				}
				if x := run.Totals.Find(metrics.OpTwinReport, "robots"); x.Count(metrics.OK) < n {
					t.Errorf("%d reports", x.Count(metrics.OK))
				}
				t.Logf("registrations p50 %v, p99 %v, max %v; %d requests thrown back", whole.Latency(false).Quantile(0.5), whole.Latency(false).Quantile(0.99),
					whole.Latency(false).Maximum(), put.Count(metrics.Throttled)+get.Count(metrics.Throttled))
			})
		})
	}
}
