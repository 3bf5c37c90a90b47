// Package hubmetrics shows the embedded hub's own numbers on /metrics.
package hubmetrics

import (
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/dps/registration"
	"github.com/twinfleet/twinfleet/internal/hub/throttle"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
)

// Register shows a hub's numbers: all of a scrape are of one instant.
func Register(rec *metrics.Recorder, h *hub.Hub) {
	rec.Register(func() []metrics.Figure { return figures(h.Stats()) })
}

func figures(s hub.Stats) []metrics.Figure {
	served := metrics.Figure{
		Name: "twinfleet_hub_operations_total", Help: "Operations that the embedded hub served, by the class that a tier limits.",
		Labels: []string{"class"},
	}
	for _, class := range tier.Classes() {
		served.Samples = append(served.Samples, metrics.Sample{Labels: []string{string(class)}, Value: float64(s.Served[class])})
	}
	throttles := func(name, help string, read func(throttle.Stat) float64) metrics.Figure {
		f := metrics.Figure{Name: "twinfleet_hub_throttle_" + name, Help: help, Labels: []string{"class"}}
		for _, x := range s.Throttles {
			f.Samples = append(f.Samples, metrics.Sample{Labels: []string{string(x.Class)}, Value: read(x)})
		}
		return f
	}
	return append([]metrics.Figure{
		{Name: "twinfleet_hub_devices", Help: "Identities in the embedded hub's registry.", Labels: []string{"status"}, Samples: []metrics.Sample{
			{Labels: []string{"enabled"}, Value: float64(s.Devices.Enabled)}, {Labels: []string{"disabled"}, Value: float64(s.Devices.Disabled)},
		}},
		metrics.One("twinfleet_hub_connected_devices", "Devices that are connected to the embedded hub.", float64(s.Connected)),
		metrics.One("twinfleet_hub_telemetry_messages_total", "Telemetry messages that the embedded hub received.", float64(s.Telemetry)),
		metrics.One("twinfleet_hub_telemetry_log_messages", "Telemetry messages that the embedded hub keeps for readers.", float64(s.Events.Messages)),
		metrics.One("twinfleet_hub_telemetry_log_bytes", "Memory of the telemetry messages that the embedded hub keeps for readers.", float64(s.Events.Bytes)),
		metrics.One("twinfleet_hub_telemetry_log_readers", "Readers of telemetry that the embedded hub has.", float64(s.Events.Readers)),
		{
			Name: "twinfleet_hub_telemetry_log_dropped_total", Help: "Telemetry messages that the embedded hub keeps no longer, by why.",
			Labels: []string{"reason"}, Samples: []metrics.Sample{
				{Labels: []string{"age"}, Value: float64(s.Events.Dropped.Old)},
				{Labels: []string{"space"}, Value: float64(s.Events.Dropped.Room)},
				{Labels: []string{"disk"}, Value: float64(s.Events.Dropped.Refused)},
			},
		},
		metrics.One("twinfleet_hub_quota_used_messages", "Messages that the embedded hub counted against its tier's quota today.", float64(s.QuotaUsed)),
		metrics.One("twinfleet_hub_quota_messages", "Messages that the embedded hub's tier allows a day; 0 without a tier.", float64(s.Quota)),
		metrics.One("twinfleet_hub_quota_refused_total", "Operations that the embedded hub refused because the day's messages were used up.", float64(s.Refused)),
		served,
		throttles("rate", "Operations per second that the embedded hub's tier allows.", func(x throttle.Stat) float64 { return x.Rate }),
		throttles("tokens", "What is left of the burst; below zero when operations wait.", func(x throttle.Stat) float64 { return x.Tokens }),
		throttles("waiting", "Operations that wait for their turn now.", func(x throttle.Stat) float64 { return float64(x.Waiting) }),
		throttles("wait_seconds", "How long one more operation would wait now.", func(x throttle.Stat) float64 { return x.Wait.Seconds() }),
		throttles("admitted_total", "Operations served, also those that waited.", func(x throttle.Stat) float64 { return float64(x.Admitted) }),
		throttles("delayed_total", "Operations served after a wait.", func(x throttle.Stat) float64 { return float64(x.Delayed) }),
		throttles("rejected_total", "Operations shed with status 429.", func(x throttle.Stat) float64 { return float64(x.Rejected) }),
	}, provisioning(s.DPS)...)
}

// provisioning are the numbers of the provisioning service, if there is one.
func provisioning(s *dps.Stats) []metrics.Figure {
	if s == nil {
		return nil
	}
	results := metrics.Figure{
		Name: "twinfleet_dps_registrations_total", Help: "Registrations that the provisioning service ended, by result.", Labels: []string{"result"},
	}
	for _, result := range registration.Results() {
		results.Samples = append(results.Samples, metrics.Sample{Labels: []string{result}, Value: float64(s.Registrations[result])})
	}
	return []metrics.Figure{
		results,
		metrics.One("twinfleet_dps_assigning", "Registrations under way at the provisioning service.", float64(s.Assigning)),
		metrics.One("twinfleet_dps_known_registrations", "Registrations that the provisioning service remembers.", float64(s.Known)),
		metrics.One("twinfleet_dps_connections", "Devices that are connected to the provisioning service over MQTT.", float64(s.Connections)),
		metrics.One("twinfleet_dps_polls_total", "Polls of registrations; by twinfleet_dps_answered_total it is the polls of each.", float64(s.Polls)),
		metrics.One("twinfleet_dps_throttled_polls_total", "Polls that the provisioning service answered with 429.", float64(s.ThrottledPolls)),
		metrics.One("twinfleet_dps_answered_total", "Registrations whose device has heard the result.", float64(s.Answered)),
		metrics.One("twinfleet_dps_wait_seconds_total", "Time from registrations to the polls that told the result, added up; by twinfleet_dps_answered_total it is the mean.", s.Waited.Seconds()),
	}
}
