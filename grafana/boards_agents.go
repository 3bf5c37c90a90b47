package grafana

// agentsRow is the agents of a run on many machines, whose coordinator shows all of them.
func agentsRow() Row {
	by := func(metric string, labels ...string) string {
		return "max by (agent) (" + chosen(pick("twinfleet_agent_"+metric, labels...)) + ")"
	}
	perSecond := func(metric string) string { return rate("agent", "twinfleet_agent_"+metric) }
	return Row{Title: "Agents (of a run on many machines)", Folded: true, NoValue: "The run has no agents: its devices run in one process.", Panels: []Panel{
		{
			Title: "Agents there", Description: "Agents that are part of the run, of how many it began with.", Kind: "stat", Unit: "locale", Width: 4, Height: 8,
			Queries: []Query{
				{Expr: sum("", "twinfleet_agent_up"), Legend: "there"},
				{Expr: "count (" + chosen("twinfleet_agent_up") + ")", Legend: "in all"},
			},
		},
		{
			Title: "Agents lost", Description: "Agents that are no longer part of the run: 1 from when each was lost.", Kind: "timeseries", Unit: "locale", Width: 6, Height: 8,
			Steps: badFrom(0.5, 1), NoValue: "None was lost, or the run has no agents.", Queries: one("1 - "+by("up")+" > 0", "{{agent}}"),
		},
		{
			Title: "Connected by agent", Description: "Devices of each agent that are connected.", Kind: "timeseries", Unit: "locale", Width: 7, Height: 8,
			Queries: one(by("devices", `state="connected"`), "{{agent}}"),
		},
		{
			Title: "Operations by agent", Description: "Operations that devices of each agent started, a second.", Kind: "timeseries", Unit: "ops", Width: 7, Height: 8,
			Queries: one(perSecond("operations_started_total"), "{{agent}}"),
		},
		{
			Title: "Under way by agent", Description: "Operations that devices of each agent started and that have not ended.", Kind: "timeseries", Unit: "locale", Width: 8,
			Queries: one(by("operations_started_total")+" - "+by("operations_ended_total"), "{{agent}}"),
		},
		{
			Title: "Dropped by agent", Description: "Operations that were due at each agent and never started, a second.", Kind: "timeseries", Unit: "ops", Width: 8,
			Queries: one(perSecond("operations_dropped_total"), "{{agent}}"),
		},
		{
			Title: "Processors by agent", Description: "Share of its processors that each agent uses.", Kind: "timeseries", Unit: "percentunit", Width: 8,
			Steps: badFrom(0.75, 0.9), Queries: one(by("cpu_ratio"), "{{agent}}"),
		},
		{
			Title: "Late by agent", Description: "By how much each agent starts operations late by its own doing: the 99th percentile of the last second.", Kind: "timeseries",
			Unit: "s", Width: 8, Steps: badFrom(0.01, 0.1), Queries: one(by("schedule_lag_seconds"), "{{agent}}"),
		},
		{
			Negative: true,
			Title:    "Clocks", Description: "How far each agent's clock is ahead of the coordinator's; times are corrected by it.", Kind: "timeseries", Unit: "s", Width: 8,
			Queries: one(by("clock_offset_seconds"), "{{agent}}"),
		},
		{
			Title: "Clocks uncertain by", Description: "By how much the comparison of each agent's clock may be wrong. From 50 ms on freshness is uncertain.", Kind: "timeseries",
			Unit: "s", Width: 8, Steps: badFrom(0.05, 0.1), Queries: one(by("clock_uncertainty_seconds"), "{{agent}}"),
		},
		{
			Title: "Control traffic", Description: "Bytes that the coordination of each agent takes, a second, both ways.", Kind: "timeseries", Unit: "bytes", Width: 12,
			Queries: one(perSecond("control_sent_bytes_total")+" + "+perSecond("control_received_bytes_total"), "{{agent}}"),
		},
		{
			Title: "Processors of control", Description: "Processors that coordination takes of each agent, at least: what reads and writes its connection is not told apart.",
			Kind: "timeseries", Unit: "percentunit", Width: 12, Steps: badFrom(0.01, 0.05), Queries: one(perSecond("control_cpu_seconds_total"), "{{agent}}"),
		},
	}}
}
