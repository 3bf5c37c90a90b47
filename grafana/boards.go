package grafana

// Names of histograms that several panels show.
const (
	response = "twinfleet_operation_duration_seconds"
	service  = "twinfleet_operation_service_duration_seconds"
	lag      = "twinfleet_schedule_lag_seconds"
	total    = "twinfleet_operations_total"
)

// Boards are all dashboards, by file name.
func Boards() map[string]Board {
	return map[string]Board{
		"fleet-overview.json":       overview(),
		"twin-operations.json":      twins(),
		"service-worker.json":       worker(),
		"freshness.json":            freshness(),
		"throttling-and-tiers.json": throttling(),
		"generator-health.json":     generator(),
		"capacity-search.json":      search(),
		"runs.json":                 runs(),
	}
}

func quantileChoice() Variable {
	return Variable{Name: "quantile", Label: "Quantile", Options: []string{"0.5", "0.9", "0.95", "0.99", "0.999"}, Default: "0.99"}
}

// provisioning is the row of devices that are assigned to their hub by a provisioning service.
func provisioning() Row {
	register, request := op("dps_register"), op("dps_put", "dps_get")
	return Row{Title: "Provisioning (DPS)", Folded: true, NoValue: "No group of the run is assigned to its hub by a provisioning service.", Panels: []Panel{
		{
			Title: "Registrations by outcome", Description: "Registrations that ended, a second: ok is a device that has a hub.", Kind: "timeseries",
			Unit: "ops", Width: 12, Colors: outcomeColors(), Queries: one(rate("outcome", total, register, inGroup), "{{outcome}}"),
		},
		{
			Title: "Being assigned", Description: "Registrations under way, those that the service throws back among them; a device that waits to register once more after a failure is not.",
			Kind: "timeseries", Unit: "locale", Width: 12, Queries: one(sum("group", "twinfleet_operations_in_flight", register, inSomeGroup), "{{group}}"),
		},
		{
			Title: "Time to be assigned", Description: "From when a device was due to be assigned until it is, or until a registration failed; waits after refusals for load and failed registrations before are among it.",
			Kind: "timeseries", Unit: "s", Log: true, Width: 12, Queries: quantiles(response, register, inGroup),
		},
		{
			Title: "Requests by outcome", Description: "Requests to be registered, and polls, a second; throttled is 429.", Kind: "timeseries", Unit: "ops", Width: 12,
			Colors: outcomeColors(), Queries: one(happened("operation, outcome", total, request, inGroup), "{{operation}} {{outcome}}"),
		},
	}}
}

// deliveries is the row of messages that subscribers of the run, or the reader of a hub, are to get.
func deliveries() Row {
	delivery := op("delivery")
	return Row{Title: "Deliveries", Folded: true, NoValue: "No group of the run measures deliveries.", Panels: []Panel{
		{
			Title: "Deliveries by outcome", Description: "Copies that a subscriber was to get, a second: a timeout is one that did not come in time.", Kind: "timeseries",
			Unit: "ops", Width: 12, Colors: outcomeColors(), Queries: one(rate("outcome", total, delivery, inGroup), "{{outcome}}"),
		},
		{
			Title: "Time to be delivered, by group", Description: "The chosen quantile of the time from when a message was due until a subscriber had it, by who sent it: a group, or GROUP/KIND for a kind of messages with a name.",
			Kind: "timeseries", Unit: "s", Log: true, Width: 12, Queries: one(quantile("$quantile", "group", response, delivery, ok, inSomeGroup), "{{group}}"),
		},
		{
			Title: "Duplicates, late, out of order", Description: "Copies that a subscriber had before, that came after their time was up, and first copies that came after a later message of the same device, a second.",
			Kind: "timeseries", Unit: "ops", Width: 12, NoValue: "No message came twice, late or out of order.", Queries: []Query{
				{Expr: rate("", "twinfleet_delivery_duplicates_total", inGroup), Legend: "duplicates"},
				{Expr: rate("", "twinfleet_delivery_late_total", inGroup), Legend: "late"},
				{Expr: rate("", "twinfleet_delivery_out_of_order_total", inGroup), Legend: "out of order"},
			},
		},
		{
			Title: "Not delivered, by group", Description: "Deliveries that timed out, failed or had no end, a second, by who sent the message.", Kind: "timeseries", Unit: "ops", Width: 12,
			NoValue: "All were delivered.", Queries: one(happened("group, outcome", total, delivery, failed, inSomeGroup), "{{group}} {{outcome}}"),
		},
		{
			Title: "Acknowledged, and never arrived, by group", Description: "Copies whose time is up, and that a subscriber that was there has not got, of messages that the target acknowledged, by who sent them. It falls when they come after all.",
			Kind: "timeseries", Unit: "locale", Width: 24, NoValue: "Nothing is missing.", Queries: one(sum("group", "twinfleet_delivery_missing", inSomeGroup), "{{group}}"),
		},
	}}
}

func overview() Board {
	all := rate("", total, inGroup)
	return Board{
		UID: "twinfleet-overview", Title: "Fleet overview", More: []Variable{quantileChoice()},
		Description: "A run at a glance: its verdict and thresholds, devices, rollouts, what failed, and whether the generator kept up; then operations with their " +
			"latency and outcomes.",
		Rows: []Row{
			standing(),
			now(),
			{Title: "Devices", Panels: []Panel{
				{
					Title: "Devices by state", Description: "Waiting: not started, or the run is over. Backoff: lost or refused, will try again. Offline: between two sessions.",
					Kind: "timeseries", Unit: "locale", Width: 12, Stacked: true, Colors: stateColors(), Queries: one(sum("state", "twinfleet_devices", inGroup), "{{state}}"),
				},
				{
					Title: "Connected by group", Description: "Devices of each group that hold a connection.", Kind: "timeseries", Unit: "locale", Width: 12,
					Queries: one(sum("group", "twinfleet_devices", `state="connected"`, inSomeGroup), "{{group}}"),
				},
				{
					Title: "Connects by outcome", Description: "Attempts to connect that ended, a second.", Kind: "timeseries", Unit: "ops", Width: 12,
					Colors: outcomeColors(), Queries: one(rate("outcome", total, op("connect"), inGroup), "{{outcome}}"),
				},
				{
					Title: "Time to connect", NoValue: "No device connected between two scrapes.", Description: "From dialling to CONNACK, TLS among it.", Kind: "timeseries", Unit: "s", Log: true, Width: 12,
					Queries: quantiles(response, op("connect"), inGroup),
				},
			}},
			{Title: "Operations", Panels: []Panel{
				{
					Title: "Rate by operation", Description: "Operations that ended, a second. Queries count by name, not by group.", Kind: "timeseries", Unit: "ops",
					Width: 12, Height: 15, Queries: one(happened("operation", total), "{{operation}}"),
				},
				{
					Title:       "Latency by operation",
					Description: "The chosen quantile of the time from when the schedule wanted an operation to its end, of those that went well.", Kind: "timeseries",
					Unit: "s", Log: true, Width: 12, Height: 15, Queries: one(quantile("$quantile", "operation", response, ok), "{{operation}}"),
				},
				{
					Title: "Outcomes", Description: "Operations of the chosen groups by how they ended, a second.", Kind: "timeseries", Unit: "ops", Width: 12,
					Stacked: true, Colors: outcomeColors(), Queries: one(rate("outcome", total, inGroup), "{{outcome}}"),
				},
				{
					Title: "Scheduled, ended, dropped",
					Description: "What the schedule wanted beside what ended and what was never started. The first two apart: the target or the generator does not " +
						"keep up.", Kind: "timeseries", Unit: "ops", Width: 12, Queries: []Query{
						{Expr: rate("", "twinfleet_operations_scheduled_total", inGroup), Legend: "scheduled"},
						{Expr: all, Legend: "ended"},
						{Expr: rate("", "twinfleet_operations_dropped_total", inGroup), Legend: "dropped"},
					},
				},
			}},
			deliveries(),
			provisioning(),
			stageTables(),
		},
	}
}

func twins() Board {
	const device, desired = `operation=~"twin_get|twin_report"`, `operation=~"desired_patch|desired|desired_reply"`
	row := func(title, operation, what string) Row {
		return Row{Title: title, NoValue: "The run has none.", Panels: []Panel{
			{
				Title: title + ": rate by outcome", Description: what, Kind: "timeseries", Unit: "ops", Colors: outcomeColors(),
				Queries: one(rate("outcome", total, op(operation), inGroup), "{{outcome}}"),
			},
			{
				Title: title + ": latency", Description: "From when the schedule wanted it to the answer, of those that went well.", Kind: "timeseries", Unit: "s", Log: true,
				Queries: quantiles(response, op(operation), ok, inGroup),
			},
			{
				Title: title + ": heat map", Description: "How many took how long. Two bands are two ways through the target.", Kind: "heatmap", Unit: "s",
				Queries: heat(response, op(operation), ok, inGroup),
			},
		}}
	}
	return Board{
		UID: "twinfleet-twins", Title: "Twin operations", More: []Variable{quantileChoice()},
		Description: "What devices and the service side do to twins: reports, reads, desired properties on their way to the devices and back.",
		Rows: []Row{
			{Title: "All twin operations", NoValue: "none", Panels: []Panel{
				{
					Title: "Reports", Description: "Patches of reported properties that were acknowledged, a second.", Kind: "stat", Unit: "ops", Width: 6, Height: 4,
					Queries: one(rate("", total, op("twin_report"), ok, inGroup), "reports"),
				},
				{
					Title: "p99 of reports", Description: "From when the schedule wanted them.", Kind: "stat", Unit: "s", Width: 6, Height: 4, Steps: badFrom(0.25, 1),
					Queries: one(quantile("0.99", "", response, op("twin_report"), ok, inGroup), "p99"),
				},
				{
					Title: "Errors of twin operations", Description: "Share of what devices did to their twins that timed out, was refused or failed.", Kind: "stat",
					Unit: "percentunit", Width: 6, Height: 4, Steps: badFrom(0.001, 0.01),
					Queries: one(share(rate("", total, device, failed, inGroup), rate("", total, device, inGroup)), "errors"),
				},
				{
					Title: "Unanswered", Description: "Twin operations that were sent and have neither been answered nor given up.", Kind: "stat", Unit: "locale",
					Width: 6, Height: 4, Queries: one(sum("", "twinfleet_operations_in_flight", device, inGroup), "in flight"),
				},
			}},
			row("Reports", "twin_report", "Devices patch their reported properties, a second."),
			{Title: "By group", NoValue: "The run reports nothing.", Panels: []Panel{
				{
					Title: "Reports by group", Description: "Reports that ended, a second.", Kind: "timeseries", Unit: "ops", Width: 12,
					Queries: one(rate("group", total, op("twin_report"), inSomeGroup), "{{group}}"),
				},
				{
					Title: "Latency of reports by group", Description: "The chosen quantile.", Kind: "timeseries", Unit: "s", Log: true, Width: 12,
					Queries: one(quantile("$quantile", "group", response, op("twin_report"), ok, inSomeGroup), "{{group}}"),
				},
				{Title: "Waited or slow?", Description: "The chosen quantile of the time from when the schedule wanted a report beside that from when it was " +
					"sent. Apart, the generator or a full queue is the cause, not the target.", Kind: "timeseries", Unit: "s", Log: true, Width: 12, Queries: []Query{
					{Expr: quantile("$quantile", "", response, op("twin_report"), ok, inGroup), Legend: "from the intended time"},
					{Expr: quantile("$quantile", "", service, op("twin_report"), ok, inGroup), Legend: "from the send"},
				}},
				{
					Title: "In flight", Description: "Operations that were sent and have no answer yet.", Kind: "timeseries", Unit: "locale", Width: 12,
					Queries: one(sum("operation", "twinfleet_operations_in_flight", device, inGroup), "{{operation}}"),
				},
			}},
			row("Reads by devices", "twin_get", "Devices read their twins, after each connect, a second."),
			{Title: "Desired properties", NoValue: "The run changes no desired properties.", Panels: []Panel{
				{
					Title: "Desired: rate", Description: "Patches by the service side, notifications that reached devices, answers in reported properties, a second.",
					Kind: "timeseries", Unit: "ops", Queries: one(rate("operation", total, desired, ok, inGroup), "{{operation}}"),
				},
				{Title: "Desired: latency", Description: "The chosen quantile: of the patch itself, from the patch to the device, and from the patch to the " +
					"device's answer.", Kind: "timeseries", Unit: "s", Log: true, Queries: one(quantile("$quantile", "operation", response, desired, ok, inGroup), "{{operation}}")},
				{
					Title: "Desired: not well", Description: "Patches, notifications and answers that were throttled, late or lost, a second.", Kind: "timeseries",
					Unit: "ops", Queries: one(happened("operation, outcome", total, desired, `outcome!="ok"`, inGroup), "{{operation}} {{outcome}}"), NoValue: "All went well, or there were none.",
				},
			}},
			{Title: "Telemetry", Folded: true, NoValue: "The run sends no telemetry.", Panels: []Panel{
				{
					Title: "Telemetry: rate by outcome", Description: "Messages, beside the twins, a second.", Kind: "timeseries", Unit: "ops", Width: 12,
					Colors: outcomeColors(), Queries: one(rate("outcome", total, op("telemetry"), inGroup), "{{outcome}}"),
				},
				{
					Title: "Telemetry: latency", Description: "From when the schedule wanted a message to its acknowledgement.", Kind: "timeseries", Unit: "s", Log: true,
					Width: 12, Queries: quantiles(response, op("telemetry"), ok, inGroup),
				},
			}},
		},
	}
}
