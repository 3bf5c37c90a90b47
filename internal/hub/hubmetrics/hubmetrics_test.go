package hubmetrics

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// What the hub serves and how its throttles stand is on /metrics.
func TestHubMetrics(t *testing.T) {
	h, err := hub.Open(t.Context(), hub.Options{Tier: "S1", Units: 2, DPS: &dps.Options{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	h.Arm()
	rec := metrics.NewRecorder(metrics.Options{})
	Register(rec, h)
	w := httptest.NewRecorder()
	prom.Handler(rec).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, want := range []string{
		`twinfleet_hub_devices{status="enabled"} 0`,
		`twinfleet_hub_connected_devices 0`,
		`twinfleet_hub_operations_total{class="telemetry"} 0`,
		`twinfleet_hub_throttle_rate{class="twin_read"} 100`,
		`twinfleet_hub_throttle_rate{class="connect"} 100`,
		`twinfleet_hub_throttle_tokens{class="twin_update"} 3000`,
		`twinfleet_hub_throttle_waiting{class="query"} 0`,
		`twinfleet_hub_throttle_wait_seconds{class="query"} 0`,
		`twinfleet_hub_throttle_admitted_total{class="c2d"} 0`,
		`twinfleet_hub_throttle_delayed_total{class="method"} 0`,
		`twinfleet_hub_throttle_rejected_total{class="job"} 0`,
		`twinfleet_hub_quota_messages 800000`,
		`twinfleet_hub_telemetry_log_messages 0`,
		`twinfleet_hub_telemetry_log_bytes 0`,
		`twinfleet_hub_telemetry_log_readers 0`,
		`twinfleet_hub_telemetry_log_dropped_total{reason="age"} 0`,
		`twinfleet_hub_telemetry_log_dropped_total{reason="space"} 0`,
		`twinfleet_hub_telemetry_log_dropped_total{reason="disk"} 0`,
		`twinfleet_hub_quota_used_messages 0`,
		`twinfleet_dps_registrations_total{result="assigned"} 0`,
		`twinfleet_dps_registrations_total{result="throttled"} 0`,
		`twinfleet_dps_assigning 0`,
		`twinfleet_dps_polls_total 0`,
		`twinfleet_dps_throttled_polls_total 0`,
		`twinfleet_dps_answered_total 0`,
		`twinfleet_dps_wait_seconds_total 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	if t.Failed() {
		t.Log(w.Body)
	}
}
