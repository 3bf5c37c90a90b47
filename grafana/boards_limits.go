package grafana

// Why the hub's own figures may be missing.
const (
	noTier = "The target tells no limits: they are the embedded hub's, when the scenario gives it a tier."
	noHub  = "The target tells nothing of itself: these are the embedded hub's figures, the quota's when it has a tier."
)

func throttling() Board {
	hub := func(by, metric string, labels ...string) string { return sum(by, "twinfleet_hub_"+metric, labels...) }
	perSecond := func(metric string) string { return rate("class", "twinfleet_hub_"+metric) }
	// Of a dozen classes a fleet meets two or three: the others have no line.
	met := func(metric string) string { return happened("class", "twinfleet_hub_"+metric) }
	been := func(metric string) string {
		now := hub("class", metric)
		return now + " and on (class) (max_over_time((" + now + ")[$__range:$__interval]) > 0)"
	}
	use := perSecond("throttle_admitted_total") + " / " + hub("class", "throttle_rate")
	return Board{
		UID: "twinfleet-throttling", Title: "Throttling and tiers",
		Description: "How near a tier's limits the fleet is. The first row is what devices and the service side see, of any target; the rest is the " +
			"embedded hub with a tier.",
		Rows: []Row{
			{Title: "As seen from outside", Panels: []Panel{
				{
					Title: "Throttled", Description: "Share of all operations that the target shed with 429: of the whole run, and at the end of the time.", Kind: "stat",
					Unit: "percentunit", Width: 6, Height: 8, Steps: badFrom(0.001, 0.05), Queries: []Query{
						{Expr: share(ofWholeRun("", shed), ofWholeRun("")), Legend: "of the whole run", Instant: true},
						{Expr: share(rate("", total, shed), rate("", total)), Legend: "now"},
					},
				},
				{
					Title: "Throttled by operation", Description: "Operations that the target shed with 429, a second.", Kind: "timeseries", Unit: "ops", Width: 9,
					Queries: one(happened("operation", total, shed), "{{operation}}"), NoValue: "Nothing was throttled.",
				},
				{
					Title: "Throttled by group", Description: "Whose operations the target shed, a second.", Kind: "timeseries", Unit: "ops", Width: 9,
					Queries: one(happened("group", total, shed, inSomeGroup), "{{group}}"), NoValue: "Nothing of a group was throttled.",
				},
			}},
			{Title: "Limits of the tier (of the embedded hub with a tier)", Folded: true, NoValue: noTier, Panels: []Panel{
				{
					Title: "Most use of each limit", Description: "Operations served as a share of what the tier allows a second, at most. Over 100 % the burst is being used up.",
					Kind: "bargauge", Most: true, Unit: "percentunit", Width: 8, Height: 10, Max: 1, Steps: badFrom(0.8, 1),
					Queries: one(use, "{{class}}"),
				},
				{
					Title: "Use of each limit over time", Description: "Operations served as a share of what the tier allows a second.", Kind: "timeseries",
					Unit: "percentunit", Width: 8, Height: 10, Steps: badFrom(0.8, 1), Queries: one(use, "{{class}}"),
				},
				{
					Negative: true,
					Title:    "Burst left", Description: "Operations that may still come at once; below zero operations wait.", Kind: "timeseries", Unit: "locale",
					Width: 8, Height: 10, Queries: one(hub("class", "throttle_tokens"), "{{class}}"),
				},
				{
					Title: "Delayed", Description: "Operations served after a wait, a second: slow, not failed.", Kind: "timeseries", Unit: "ops", Width: 6,
					NoValue: "Nothing was delayed.", Queries: one(met("throttle_delayed_total"), "{{class}}"),
				},
				{
					Title: "Rejected", Description: "Operations shed with 429, a second.", Kind: "timeseries", Unit: "ops", Width: 6,
					NoValue: "Nothing was rejected.", Queries: one(met("throttle_rejected_total"), "{{class}}"),
				},
				{
					Title: "Waiting", Description: "Operations that wait for their turn.", Kind: "timeseries", Unit: "locale", Width: 6,
					NoValue: "Nothing waited.", Queries: one(been("throttle_waiting"), "{{class}}"),
				},
				{
					Title: "Wait", Description: "How long one more operation would wait.", Kind: "timeseries", Unit: "s", Width: 6,
					NoValue: "Nothing would wait.", Queries: one(been("throttle_wait_seconds"), "{{class}}"),
				},
			}},
			{Title: "Quota and load of the hub (of the embedded hub)", Folded: true, NoValue: noHub, Panels: []Panel{
				{
					Title: "Daily quota", Description: "Messages counted today as a share of what the tier allows a day.", Kind: "stat", Unit: "percentunit", Width: 4,
					Height: 8, Steps: badFrom(0.8, 1), Queries: one(share(hub("", "quota_used_messages"), hub("", "quota_messages")), "used"),
				},
				{
					Title: "Quota used", Description: "Messages that the hub counted today, beside what the tier allows, and operations that came after that.", Kind: "timeseries", Unit: "locale",
					Width: 10, Queries: []Query{
						{Expr: hub("", "quota_used_messages"), Legend: "counted"},
						{Expr: hub("", "quota_messages"), Legend: "allowed"},
						{Expr: hub("", "quota_refused_total"), Legend: "refused"},
					},
				},
				{
					Title: "Operations of the hub", Description: "What the hub served, by the class that a tier limits, a second.", Kind: "timeseries", Unit: "ops",
					Width: 10, Queries: one(met("operations_total"), "{{class}}"),
				},
				{
					Title: "Identities", Description: "Identities in the hub's registry.", Kind: "timeseries", Unit: "locale",
					Queries: one(hub("status", "devices"), "{{status}}"),
				},
				{
					Title: "Connections of the hub", Description: "Devices that the hub sees connected, beside what devices say.", Kind: "timeseries", Unit: "locale",
					Queries: []Query{
						{Expr: hub("", "connected_devices"), Legend: "hub"},
						{Expr: sum("", "twinfleet_devices", `state="connected"`), Legend: "devices"},
					},
				},
				{
					Title: "Telemetry of the hub", Description: "Messages that the hub received, a second.", Kind: "timeseries", Unit: "ops",
					Queries: one(rate("", "twinfleet_hub_telemetry_messages_total"), "messages"),
				},
			}},
			{Title: "Telemetry that the hub keeps for readers (of the embedded hub)", Folded: true, NoValue: noHub, Panels: []Panel{
				{
					Title: "Kept messages", Description: "Telemetry messages that readers can still read.", Kind: "timeseries", Unit: "locale", Width: 6,
					Queries: one(hub("", "telemetry_log_messages"), "messages"),
				},
				{
					Title: "Memory of kept messages", Description: "What the kept messages take.", Kind: "timeseries", Unit: "bytes", Width: 6,
					Queries: one(hub("", "telemetry_log_bytes"), "memory"),
				},
				{
					Title: "Readers", Description: "Links that read telemetry.", Kind: "timeseries", Unit: "locale", Width: 6,
					Queries: one(hub("", "telemetry_log_readers"), "readers"),
				},
				{
					Title: "No longer kept", Description: "Messages that can be read no longer, a second, by why: too old, no space, the disk refused.", Kind: "timeseries",
					Unit: "ops", Width: 6, Queries: one(rate("reason", "twinfleet_hub_telemetry_log_dropped_total"), "{{reason}}"),
				},
			}},
		},
	}
}

func generator() Board {
	own := func(metric string) string { return "max (" + chosen("twinfleet_generator_"+metric) + ")" }
	used := func(metric, limit string) string {
		return "max (" + chosen("twinfleet_generator_"+metric+" / (twinfleet_generator_"+limit+" > 0)") + ")"
	}
	return Board{
		UID: "twinfleet-generator", Title: "Generator health",
		Description: "Whether the figures are the target's or the generator's own: processors, garbage, memory, descriptors, ports, timers and the " +
			"schedule. With several runs each panel shows the worst.",
		Rows: []Row{
			{Title: "Verdict", Panels: []Panel{
				{
					Title: "Saturated", Description: "Time in which a rule found the generator the bottleneck. A run in which it was long enough does not pass.",
					Kind: "stat", Unit: "s", Width: 4, Height: 4, Steps: badFrom(0.5, 5), Queries: one(own("saturated_seconds_total"), "saturated"),
				},
				{
					Title: "Processors", Description: "Share of the processors that the process uses.", Kind: "stat", Unit: "percentunit", Width: 4, Height: 4,
					Steps: badFrom(0.75, 0.9), Queries: one(own("cpu_ratio"), "in use"),
				},
				{
					Title: "Timers late", Description: "99th percentile of how late timers fire. Late timers mean that processors are missing.", Kind: "stat",
					Unit: "s", Width: 4, Height: 4, Steps: badFrom(0.01, 0.05), Queries: one(own("timer_lateness_seconds"), "p99"),
				},
				{
					Title: "Memory", Description: "Share of the memory that the process may have.", Kind: "stat", Unit: "percentunit", Width: 4, Height: 4,
					Steps: badFrom(0.8, 0.95), Queries: one(used("memory_bytes", "memory_limit_bytes"), "in use"),
				},
				{
					Title: "Descriptors", Description: "Share of the descriptors that the process may have; ulimit -n raises them.", Kind: "stat", Unit: "percentunit",
					Width: 4, Height: 4, Steps: badFrom(0.8, 0.95), Queries: one(used("descriptors", "descriptors_limit"), "in use"),
				},
				{
					Title: "Local ports", Description: "Share of the local ports towards the target; fleet.source_addresses names more.", Kind: "stat",
					Unit: "percentunit", Width: 4, Height: 4, Steps: badFrom(0.8, 0.95), Queries: one(used("ports", "ports_limit"), "in use"),
				},
			}},
			{Title: "The schedule", Panels: []Panel{
				{
					Title: "Schedule lag by operation", Description: "99th percentile of the time from when the schedule wanted operations to when they were sent.",
					Kind: "timeseries", Width: 12, Height: 12, Unit: "s", Queries: one(quantile("0.99", "operation", lag), "{{operation}}"),
				},
				{
					Title:       "Timers and operations late",
					Description: "99th percentile of the last second. Timers punctual and operations late: the target stalls. Both late: the generator does.",
					Kind:        "timeseries", Width: 12, Height: 12, Unit: "s", Queries: []Query{
						{Expr: own("timer_lateness_seconds"), Legend: "timers"},
						{Expr: own("schedule_lag_seconds"), Legend: "operations"},
					},
				},
				{
					Title: "Started late", Description: "Share of what was scheduled that started more than ten milliseconds late.", Kind: "timeseries",
					Width: 12, Height: 12, Unit: "percentunit", Steps: badFrom(0.01, 0.1),
					Queries: one(share(rate("operation", "twinfleet_operations_late_total", inGroup),
						rate("operation", "twinfleet_operations_scheduled_total", inGroup)), "{{operation}}"),
				},
				{
					Title: "Dropped by reason", Description: "Operations that were scheduled and never sent, a second.", Kind: "timeseries", Width: 12, Height: 12, Unit: "ops",
					Stacked: true, Queries: one(rate("reason", "twinfleet_operations_dropped_total", inGroup), "{{reason}}"),
				},
				{
					Title: "In flight", Description: "Operations without an answer yet, by kind.", Kind: "timeseries", Width: 12, Height: 12, Unit: "locale",
					Queries: one(sum("operation", "twinfleet_operations_in_flight"), "{{operation}}"),
				},
				{Title: "Schedule lag, heat map", Description: "How many operations started how late.", Kind: "heatmap", Width: 12, Height: 12, Unit: "s", Queries: heat(lag, inGroup)},
			}},
			{Title: "The load that was asked for", Panels: []Panel{
				{
					Title: "Stages not as asked", Description: "Stages whose load was not the one that was asked for: 1. Nothing can be said of their thresholds.",
					Kind: "timeseries", Unit: "locale", Width: 8, Steps: badFrom(0.5, 1),
					Queries: one("max by (stage) ("+chosen("twinfleet_generator_not_as_asked")+")", "{{stage}}"),
				},
				{
					Title: "The machine's processors",
					Description: "Shares: in use by all programs in the busiest quarter of a second, taken by the hypervisor, held up by a limit of the control " +
						"group, and of the time in which some program waited for a processor.", Kind: "timeseries", Unit: "percentunit", Width: 8, Queries: []Query{
						{Expr: "clamp_max(" + own("machine_cpu_ratio") + ", 1)", Legend: "in use"}, // shares of quarters of a second come out a little above
						{Expr: own("steal_ratio"), Legend: "stolen"},
						{Expr: own("cpu_limited_ratio"), Legend: "limited"},
						{Expr: own("cpu_waiting_ratio"), Legend: "waiting"},
					},
				},
				{
					Title: "Standing still", Description: "Longest time for which the process stood still: stopped, suspended, or without a processor.",
					Kind: "timeseries", Unit: "s", Width: 8, Queries: one(own("stopped_seconds"), "longest"),
				},
			}},
			agentsRow(),
			{Title: "The process", Panels: []Panel{
				{
					Title: "Processors in use", Description: "Processors' time used, a second, beside the processors that there are.", Kind: "timeseries",
					Unit: "short", Queries: []Query{
						{Expr: rate("", "twinfleet_generator_cpu_seconds_total"), Legend: "in use"},
						{Expr: own("cores"), Legend: "there are"},
					},
				},
				{Title: "Memory in use", Description: "Resident memory beside what the process may have.", Kind: "timeseries", Unit: "bytes", Queries: []Query{
					{Expr: own("memory_bytes"), Legend: "in use"},
					{Expr: own("memory_limit_bytes"), Legend: "limit"},
				}},
				{
					Title: "Collecting garbage", Description: "Share of the processors' time that went into it.", Kind: "timeseries", Unit: "percentunit",
					Steps: badFrom(0.1, 0.25), Queries: one(own("gc_cpu_ratio"), "share of time"),
				},
				{
					Title: "Pauses", Description: "Longest pause for collecting garbage in the last second.", Kind: "timeseries", Unit: "s",
					Queries: one(own("gc_pause_seconds"), "longest"),
				},
				{Title: "Descriptors and ports", Description: "In use, beside their limits.", Kind: "timeseries", Unit: "locale", Queries: []Query{
					{Expr: own("descriptors"), Legend: "descriptors"},
					{Expr: own("descriptors_limit"), Legend: "descriptors, limit"},
					{Expr: own("ports"), Legend: "ports"},
					{Expr: own("ports_limit"), Legend: "ports, limit"},
				}},
				{
					Title: "Goroutines", Description: "Of the process; a device with a connection has a dozen.", Kind: "timeseries", Unit: "locale",
					Queries: one("sum ("+chosen("go_goroutines")+")", "goroutines"),
				},
			}},
		},
	}
}
