package grafana

func queryChoice() Variable {
	return Variable{Name: "query", Label: "Query", Values: "label_values(twinfleet_query_runs_total, query)"}
}

func worker() Board {
	// The group of a query's operations is the query's name.
	const named, inQuery = `group=~"$query"`, `query=~"$query"`
	const calls = `operation=~"method|twin_read|tag|job|desired_patch"`
	return Board{
		UID: "twinfleet-worker", Title: "Service worker and queries", More: []Variable{queryChoice(), quantileChoice()},
		Description: "The service side: scheduled twin queries with their results, direct methods, twin reads, tags and jobs. Groups of methods and jobs " +
			"are their names.",
		Rows: []Row{
			{Title: "Queries", NoValue: "The run asks no queries.", Panels: []Panel{
				{
					Title: "p95 of queries", Description: "Through all pages, from when the schedule wanted the query.", Kind: "stat", Unit: "s", Width: 6, Height: 4,
					Steps: badFrom(0.5, 2), Queries: one(quantile("0.95", "", response, op("query"), ok, named), "p95"),
				},
				{
					Title: "Rate of queries", Description: "Results read to the end, a second.", Kind: "stat", Unit: "ops", Width: 6, Height: 4,
					Queries: one(rate("", "twinfleet_query_runs_total", inQuery), "queries"),
				},
				{
					Title: "Not well", Description: "Share of queries that were throttled, timed out, were refused or failed.", Kind: "stat", Unit: "percentunit",
					Width: 6, Height: 4, Steps: badFrom(0.001, 0.05),
					Queries: one(share(rate("", total, op("query"), `outcome!="ok"`, named), rate("", total, op("query"), named)), "not well"),
				},
				{
					Title: "Unexpected size", Description: "Results without the size that the scenario expects of them, a second.", Kind: "stat", Unit: "ops",
					Width: 6, Height: 4, Steps: badFrom(0.0001, 0.1), Queries: one(rate("", "twinfleet_query_expectations_total", `result="unmet"`, inQuery), "unexpected"),
				},
				{
					Title: "Latency by query", Description: "The chosen quantile, through all pages.", Kind: "timeseries", Unit: "s", Log: true, Width: 12,
					Queries: one(quantile("$quantile", "group", response, op("query"), ok, named), "{{group}}"),
				},
				{
					Title: "Latency of all queries", Description: "How many took how long.", Kind: "heatmap", Unit: "s", Width: 12,
					Queries: heat(response, op("query"), ok, named),
				},
				{
					Title: "Outcomes of queries", Description: "Queries that ended, a second.", Kind: "timeseries", Unit: "ops", Width: 12, Stacked: true,
					Colors: outcomeColors(), Queries: one(rate("outcome", total, op("query"), named), "{{outcome}}"),
				},
				{
					Title: "Items of the last result", Description: "How many items each query found last.", Kind: "timeseries", Unit: "locale", Width: 12,
					Queries: one(sum("query", "twinfleet_query_results", inQuery), "{{query}}"),
				},
				{
					Title: "Pages", Description: "Pages read, a second. Each is a request that a tier counts.", Kind: "timeseries", Unit: "ops", Width: 12,
					Queries: one(rate("query", "twinfleet_query_pages_total", inQuery), "{{query}}"),
				},
				{
					Title: "Expected size", Description: "Results that had the size that the scenario expects (met) and that had not (unmet), a second.",
					Kind: "timeseries", Unit: "ops", Width: 12, Colors: map[string]string{"met": "green", "unmet": "red"},
					Queries: one(rate("result", "twinfleet_query_expectations_total", inQuery), "{{result}}"),
				},
			}},
			{Title: "Calls", NoValue: "The run has none of these.", Panels: []Panel{
				{
					Title: "Rate by call", Description: "Methods, twin reads, tags, patches and jobs that ended, a second.", Kind: "timeseries", Unit: "ops",
					Queries: one(rate("operation", total, calls), "{{operation}}"),
				},
				{
					Title: "Latency by call", Description: "The chosen quantile. A method takes until the device has answered, a job until its end.",
					Kind: "timeseries", Unit: "s", Log: true, Queries: one(quantile("$quantile", "operation", response, calls, ok), "{{operation}}"),
				},
				{
					Title: "Calls not well", Description: "Calls that were throttled, timed out, were refused or failed, a second.", Kind: "timeseries", Unit: "ops",
					Queries: one(happened("operation, outcome", total, calls, `outcome!="ok"`), "{{operation}} {{outcome}}"), NoValue: "All went well, or there were none.",
				},
				{
					Title: "Methods by name", Description: "Direct methods that ended, a second.", Kind: "timeseries", Unit: "ops",
					Queries: one(happened("group, outcome", total, op("method")), "{{group}} {{outcome}}"),
				},
				{Title: "Latency of methods", Description: "Until the device's answer.", Kind: "timeseries", Unit: "s", Log: true, Queries: quantiles(response, op("method"), ok)},
				{
					Title: "Latency of twin reads", Description: "A twin by its device id.", Kind: "timeseries", Unit: "s", Log: true,
					Queries: quantiles(response, op("twin_read"), ok, inGroup),
				},
			}},
			{Title: "Tags and registry", Folded: true, NoValue: "The scenario sets no tags and makes no identities.", Panels: []Panel{
				{
					Title: "Tags and identities", Description: "Twins tagged and identities made so far, most of them before the first stage, by how that ended.",
					Kind: "table", Unit: "locale", Width: 12,
					Queries: []Query{{Expr: kept(sum("operation, outcome", total, op("tag", "provision"))) + " > 0", Instant: true}},
					Columns: []Column{{Field: "operation", Title: "Operation"}, {Field: "outcome", Title: "Outcome"}, {Field: "Value", Title: "Operations"}},
				},
				{
					Title: "Longest of tags and registry", Description: "The longest that tagging a twin or making identities took; most of it is before the first scrape, of which a rate knows nothing.",
					Kind: "table", Unit: "s", Width: 12,
					Queries: []Query{{Expr: kept("max by (operation, outcome) ("+chosen(pick("twinfleet_operation_duration_max_seconds", op("tag", "provision")))+")") + " > 0", Instant: true}},
					Columns: []Column{{Field: "operation", Title: "Operation"}, {Field: "outcome", Title: "Outcome"}, {Field: "Value", Title: "Longest"}},
				},
			}},
		},
	}
}

func freshness() Board {
	const inQuery = `query=~"$query"`
	fresh := op("freshness")
	judged := rate("", "twinfleet_query_rows_total", `check!="unjudged"`, inQuery)
	return Board{
		UID: "twinfleet-freshness", Title: "Freshness", More: []Variable{queryChoice()},
		Description: "How old is what the service side sees: from the acknowledgement of a report to the first query result that shows it, and whether " +
			"results are right.",
		Rows: []Row{
			{Title: "Now", NoValue: "no audit", Panels: []Panel{
				{
					Title: "p50", Description: "Half of the reports are in query results after this time.", Kind: "stat", Unit: "s", Width: 4, Height: 4,
					Queries: one(quantile("0.5", "", response, fresh, ok, inGroup), "p50"),
				},
				{
					Title: "p95", Description: "One report in twenty takes longer to be in query results.", Kind: "stat", Unit: "s", Width: 4, Height: 4,
					Steps: badFrom(3, 5), Queries: one(quantile("0.95", "", response, fresh, ok, inGroup), "p95"),
				},
				{
					Title: "p99", Description: "One report in a hundred takes longer to be in query results.", Kind: "stat", Unit: "s", Width: 4, Height: 4,
					Steps: badFrom(5, 10), Queries: one(quantile("0.99", "", response, fresh, ok, inGroup), "p99"),
				},
				{
					Title: "Seen", Description: "Reports of sampled devices that query results showed, a second.", Kind: "stat", Unit: "ops", Width: 4, Height: 4,
					Queries: one(rate("", total, fresh, ok, inGroup), "seen"),
				},
				{
					Title: "Never seen", Description: "Share of acknowledged reports that no result showed in time.", Kind: "stat", Unit: "percentunit", Width: 4,
					Height: 4, Steps: badFrom(0.0001, 0.001), Queries: one(share(rate("", total, fresh, failed, inGroup), rate("", total, fresh, inGroup)), "never seen"),
				},
				{
					Title: "Right rows", Description: "Share of the judged devices in query results that were as what had been acknowledged says.", Kind: "stat",
					Unit: "percentunit", Width: 4, Height: 4, Steps: goodFrom(0.99, 0.999),
					Queries: one(share(rate("", "twinfleet_query_rows_total", `check="ok"`, inQuery), judged), "right"),
				},
			}},
			{Title: "How late", NoValue: "The run has no freshness audit.", Panels: []Panel{
				{Title: "Freshness", Description: "From the acknowledgement of a report to the first query result that shows it. Its resolution is the time " +
					"between two probes.", Kind: "timeseries", Unit: "s", Log: true, Width: 12, Queries: quantiles(response, fresh, ok, inGroup)},
				{Title: "Freshness, heat map", Description: "How many took how long.", Kind: "heatmap", Unit: "s", Width: 12, Queries: heat(response, fresh, ok, inGroup)},
				{
					Title: "Seen within", Description: "Share of the reports that were in a result within a second, two, five and ten.", Kind: "timeseries",
					Unit: "percentunit", Width: 12, Max: 1, Queries: []Query{
						{Expr: within("1", response, fresh, ok, inGroup), Legend: "1 s"},
						{Expr: within("2", response, fresh, ok, inGroup), Legend: "2 s"},
						{Expr: within("5", response, fresh, ok, inGroup), Legend: "5 s"},
						{Expr: within("10", response, fresh, ok, inGroup), Legend: "10 s"},
					},
				},
				{
					Title: "By group", Description: "95th percentile.", Kind: "timeseries", Unit: "s", Log: true, Width: 12,
					Queries: one(quantile("0.95", "group", response, fresh, ok, inSomeGroup), "{{group}}"),
				},
			}},
			{Title: "How right", NoValue: "The run has no freshness audit, or asks no queries.", Panels: []Panel{
				{
					Title: "Rows by finding", Description: "Sampled devices in query results, a second. Missing: should be there and is not. Extra: is there and " +
						"should not be. Stale: older than what was acknowledged. Unjudged: was changing.", Kind: "timeseries", Unit: "ops", Width: 12, Stacked: true,
					Colors:  map[string]string{"ok": "green", "missing": "red", "extra": "purple", "stale": "orange", "unjudged": "gray"},
					Queries: one(rate("check", "twinfleet_query_rows_total", inQuery), "{{check}}"),
				},
				{
					Title: "Wrong rows by query", Description: "Share of the judged rows of each query that were missing, extra or stale.", Kind: "timeseries",
					Unit: "percentunit", Width: 12, Steps: badFrom(0.001, 0.01),
					Queries: one(share(rate("query", "twinfleet_query_rows_total", `check=~"missing|extra|stale"`, inQuery),
						rate("query", "twinfleet_query_rows_total", `check!="unjudged"`, inQuery)), "{{query}}"),
				},
				{
					Title: "What freshness is made of", Description: "The 95th percentile of reports, of queries, and of freshness: where the time goes.",
					Kind: "timeseries", Unit: "s", Log: true, Width: 12,
					Queries: one(quantile("0.95", "operation", response, op("twin_report", "query", "freshness"), ok), "{{operation}}"),
				},
				{
					Title: "Items of the last result", Description: "How many items each query found last.", Kind: "timeseries", Unit: "locale", Width: 12,
					Queries: one(sum("query", "twinfleet_query_results", inQuery), "{{query}}"),
				},
			}},
		},
	}
}
