package grafana

// eachRun tells runs apart, also those that began in the same second and so have the same name.
const eachRun = "job, instance, run"

// byRun is the last of a figure of each chosen run.
func byRun(metric string, labels ...string) string {
	return "max by (" + eachRun + ") " + ofRuns(metric, labels...)
}

// runs lists the runs, each with a link to its own times.
func runs() Board {
	// A run that was not seen to its end ended when it was last seen, or soon after it began.
	ended := "1000 * max by (" + eachRun + ") (" + ofRuns("twinfleet_run_ended_timestamp_seconds") + " or on (job, instance, run) max_over_time(timestamp(twinfleet_run_started_timestamp_seconds{" +
		`run=~"$run"})[$__range:$__interval]) or on (job, instance, run) ` + ofRuns("twinfleet_run_started_timestamp_seconds") + " + 60)"
	share := func(labels ...string) string { return share(ofWholeRun(eachRun, labels...), ofWholeRun(eachRun)) }
	const open = `Show the run at its own times: /d/twinfleet-overview?var-datasource=${datasource}` +
		`&var-run=${__data.fields["run"]}&from=${__data.fields["Value #B"].numeric}&to=${__data.fields["Value #K"].numeric}`
	return Board{
		UID: "twinfleet-runs", Title: "Runs", From: "now-24h",
		Description: "The runs that Prometheus knows of, with their verdicts. A click on one shows it on the fleet overview, at its own times.",
		Rows: []Row{
			{Title: "Runs", Panels: []Panel{
				{
					Title: "All runs", Description: "The latest first. A run that was not seen to its end shows how it stood when it was last seen.", Kind: "table", Unit: "none",
					Width: 24, Height: 12, NoValue: "No run in this time.",
					Queries: []Query{
						{Expr: "sort_desc(max by (" + eachRun + ", scenario) (" + seen("twinfleet_run_info{"+ofRun+"}") + ") * on (" + eachRun + ") group_left () " +
							byRun("twinfleet_run_started_timestamp_seconds") + ")", Instant: true}, // its value is not shown: it puts the latest first
						{Expr: "1000 * " + byRun("twinfleet_run_started_timestamp_seconds"), Instant: true},
						{Expr: ended, Instant: true},
						{Expr: "max by (" + eachRun + ", verdict) (" + ofRuns("twinfleet_run_verdict") + " == 1)", Instant: true},
						{Expr: "sum by (" + eachRun + ") (" + ofRuns("twinfleet_threshold_met") + " == bool 0)", Instant: true},
						{Expr: byRun("twinfleet_run_devices_planned"), Instant: true},
						{Expr: ofWholeRun(eachRun), Instant: true},
						{Expr: share(failed), Instant: true},
						{Expr: share(shed), Instant: true},
						{Expr: byRun("twinfleet_run_as_asked"), Instant: true},
						{Expr: ended + " + 30000", Instant: true}, // the last scrape, which has the verdict, comes after the end
					},
					Columns: []Column{
						{Field: "run", Title: "Run", Width: 150, Link: open},
						{Field: "scenario", Title: "Scenario"},
						{Field: "verdict", Title: "Verdict", Width: 200, Marks: marked(verdictNames(), verdictColors())},
						{Field: "Value #B", Title: "Began", Unit: "dateTimeAsIso", Width: 170},
						{Field: "Value #C", Title: "Ended", Unit: "dateTimeAsIso", Width: 170},
						{Field: "Value #E", Title: "Thresholds missed", Unit: "locale", Width: 155, Steps: []Step{{"green", 0}, {"red", 1}}},
						{Field: "Value #F", Title: "Devices", Unit: "locale", Width: 90},
						{Field: "Value #G", Title: "Operations", Unit: "locale", Width: 110},
						{Field: "Value #H", Title: "Failed", Unit: "percentunit", Width: 90, Steps: badFrom(0.00001, 0.01)},
						{Field: "Value #I", Title: "Throttled", Unit: "percentunit", Width: 90, Steps: badFrom(0.00001, 0.05)},
						{Field: "Value #J", Title: "Generator", Width: 120, Marks: map[string]string{"1": "green kept up", "0": "red not as asked"}},
						{Field: "Value #K", Title: "Shown until", Hidden: true},
					},
				},
			}},
			{Title: "Beside each other", Panels: []Panel{
				{
					Title: "Devices by run", Description: "Devices that hold a connection.", Kind: "timeseries", Unit: "locale", Width: 12,
					Queries: one("max by (run) ("+chosen(`twinfleet_run_devices_connected{run=~"$run"}`)+")", "{{run}}"),
				},
				{
					Title: "Operations by run", Description: "Operations that ended, a second.", Kind: "timeseries", Unit: "ops", Width: 12,
					Queries: one(rate("run", "twinfleet_run_operations_total", `run=~"$run"`), "{{run}}"),
				},
			}},
		},
	}
}

// search is the board of capacity searches.
func search() Board {
	const each = "scenario, vary"
	last := func(by, metric string, labels ...string) string {
		return "max by (" + by + ") (" + seen(pick("twinfleet_capacity_"+metric, append([]string{`scenario=~"$scenario"`}, labels...)...)) + ")"
	}
	const none = "No capacity search was scraped in this time: twinfleet capacity serves its figures on /metrics while it goes on."
	names := map[string]string{
		"running": "RUNNING", "found": "FOUND", "at_least": "ALL LOADS HOLD", "below": "NO LOAD HOLDS", "generator": "GENERATOR TOO SMALL", "quota": "QUOTA USED UP",
		"unstable": "UNSTABLE", "stopped": "STOPPED", "changed": "TARGET CHANGED", "unreachable": "UNREACHABLE", "no_data": "NO DATA",
	}
	colors := map[string]string{
		"running": "blue", "found": "green", "at_least": "green", "below": "red", "generator": "purple", "quota": "orange", "unstable": "orange", "stopped": "orange",
		"changed": "orange", "unreachable": "red", "no_data": "orange",
	}
	trial := func(metric string) Query { return Query{Expr: last("trial", metric), Instant: true} }
	return Board{
		UID: "twinfleet-capacity", Title: "Capacity search", From: "now-1h", More: []Variable{quantileChoice()},
		Description: "A search for the most that a target holds: the highest load that holds, the lowest that does not, and each trial. The boards of runs show the trial under way.",
		Rows: []Row{
			{Title: "The search", NoValue: none, Panels: []Panel{
				{
					Title: "State", Description: "Running, found, all loads hold, no load holds, or why no limit can be said.", Kind: "stat", Unit: "none", Width: 6, Height: 4,
					ShowName: true, Filled: true, Names: names, Colors: colors, Queries: []Query{{Expr: last("end, "+each, "end") + " == 1", Legend: "{{end}}", Instant: true}},
				},
				{
					Title: "Holds", Description: "The highest load that holds so far, in what is varied: devices, or operations a second.", Kind: "stat", Unit: "locale", Width: 6,
					Height: 4, Steps: []Step{{"green", 0}}, Queries: []Query{{Expr: last(each, "held"), Legend: "{{vary}}", Instant: true}},
				},
				{
					Title: "Does not hold", Description: "The lowest load that does not hold so far, above the one that does.", Kind: "stat", Unit: "locale", Width: 6, Height: 4,
					Steps: []Step{{"red", 0}}, Queries: []Query{{Expr: last(each, "missed"), Legend: "{{vary}}", Instant: true}},
				},
				{
					Title: "Trials", Description: "Trials that ended, by verdict: undelivered is a load that the generator did not make, spent one without messages left for today.",
					Kind: "stat", Unit: "locale", Width: 6, Height: 4, Colors: map[string]string{"held": "green", "missed": "red", "undelivered": "purple", "spent": "orange"},
					Queries: []Query{{Expr: last("verdict", "trials_total") + " > 0", Legend: "{{verdict}}", Instant: true}},
				},
				{
					Title: "Each trial", Description: "Loads in what is varied; what was due and what ended well, a second; times from the intended time.", Kind: "table", Unit: "none",
					Width: 24, Height: 10, Queries: []Query{
						{Expr: last("trial, phase, verdict, limit", "trial_load"), Instant: true},
						trial("trial_offered"), trial("trial_done"),
						trial("trial_p50_seconds"), trial("trial_p99_seconds"), trial("trial_throttled_ratio"), trial("trial_failed_ratio"),
					},
					Columns: []Column{
						{Field: "trial", Title: "Trial", Number: true, Width: 70},
						{Field: "Value #A", Title: "Load", Unit: "locale"},
						{Field: "verdict", Title: "Verdict", Marks: map[string]string{"held": "green held", "missed": "red missed", "undelivered": "purple undelivered", "spent": "orange spent"}},
						{Field: "phase", Title: "For", Marks: map[string]string{"step": "text a step", "narrow": "text narrowing", "repeat": "text once more", "confirm": "text confirming"}},
						{Field: "limit", Title: "Limited by"},
						{Field: "Value #B", Title: "Due", Unit: "ops"},
						{Field: "Value #C", Title: "Done", Unit: "ops"},
						{Field: "Value #D", Title: "p50", Unit: "s"},
						{Field: "Value #E", Title: "p99", Unit: "s"},
						{Field: "Value #F", Title: "Throttled", Unit: "percentunit"},
						{Field: "Value #G", Title: "Failed", Unit: "percentunit"},
					},
				},
			}},
			{Title: "The trial under way", NoValue: none, Panels: []Panel{
				{
					Title: "Bracket", Description: "Between which loads the limit is, as the search goes on.", Kind: "timeseries", Unit: "locale", Width: 12,
					Colors: map[string]string{"holds": "green", "does not hold": "red"}, Queries: []Query{
						{Expr: `max (twinfleet_capacity_held{scenario=~"$scenario"})`, Legend: "holds"},
						{Expr: `max (twinfleet_capacity_missed{scenario=~"$scenario"})`, Legend: "does not hold"},
					},
				},
				{
					Title: "Devices", Description: "Devices of the trial that hold a connection.", Kind: "timeseries", Unit: "locale", Width: 12,
					Queries: one(sum("", "twinfleet_devices", `state="connected"`), "connected"),
				},
				{
					Title: "Rate by operation", Description: "Operations that ended, a second.", Kind: "timeseries", Unit: "ops", Width: 12, Height: 15,
					Queries: one(happened("operation", total), "{{operation}}"),
				},
				{
					Title: "Latency by operation", Description: "The chosen quantile, of operations that went well.", Kind: "timeseries", Unit: "s", Width: 12, Height: 15, Log: true,
					Queries: one(quantile("$quantile", "operation", response, ok), "{{operation}}"),
				},
			}},
		},
	}
}
