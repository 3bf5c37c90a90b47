package grafana

// Verdicts of a run, as people read them, and their colours.
func verdictNames() map[string]string {
	return map[string]string{
		"starting": "STARTING", "holding": "HOLDING SO FAR", "cannot_say": "CANNOT SAY", "missing": "MISSING A THRESHOLD", "failing": "FAILING",
		"passed": "PASSED", "missed": "MISSED A THRESHOLD", "saturated": "GENERATOR SATURATED", "interrupted": "INTERRUPTED", "failed": "FAILED",
	}
}

func verdictColors() map[string]string {
	return map[string]string{
		"starting": "blue", "holding": "green", "cannot_say": "orange", "missing": "red", "failing": "red",
		"passed": "green", "missed": "red", "saturated": "purple", "interrupted": "orange", "failed": "red",
	}
}

// marked are texts in their colours, for a column.
func marked(names, colors map[string]string) map[string]string {
	all := make(map[string]string)
	for value, name := range names {
		all[value] = colors[value] + " " + name
	}
	return all
}

// ofWholeRun sums up what was last seen of the operations of the chosen runs, over all their time.
func ofWholeRun(by string, labels ...string) string {
	return "sum" + clause(by) + " (" + ofRuns("twinfleet_run_operations_total", labels...) + ")"
}

// outcomeMarks are outcomes in their colours; no one reads dark red or gray on a dark board.
func outcomeMarks() map[string]string {
	colors := outcomeColors()
	colors["error"], colors["unanswered"] = "red", "text"
	marks := make(map[string]string)
	for outcome, color := range colors {
		marks[outcome] = color + " " + outcome
	}
	return marks
}

// standing says how a run stands, at a glance: it outlives the run.
func standing() Row {
	const each = "job, instance, run"
	connected, wanted := "max by ("+each+") "+ofRuns("twinfleet_run_devices_connected"), "max by ("+each+") "+ofRuns("twinfleet_run_devices_wanted")
	devices := "(" + connected + " / " + wanted + ") * on (" + each + ") group_left (connected) " + thousands("connected", each, connected) +
		" * on (" + each + ") group_left (wanted) " + thousands("wanted", each, wanted)
	notWell := "(" + kept(sum("operation, group, outcome", total, `outcome!="ok"`)) + " > 0)"
	return Row{Title: "How it stands", Panels: []Panel{
		{
			Title: "Verdict", Description: "Of each chosen run: holding so far, missing a threshold, cannot say, or failing while it goes on; then passed, missed, " +
				"saturated (the generator was the bottleneck), interrupted or failed; cannot say of one that is over stands for a guess that something else has spoiled it.",
			Kind: "stat", Unit: "none", Width: 6, Height: 4, ShowName: true, Filled: true, Names: verdictNames(), Colors: verdictColors(),
			Queries: []Query{{Expr: ofRuns("twinfleet_run_verdict") + " == 1", Legend: "{{verdict}}", Instant: true}},
		},
		{
			Title: "Devices", Description: "Devices that are connected, of those that should be: without those not started, or offline by their own will. Of a run that is over, those that " +
				"were when its last stage ended.",
			Kind: "stat", Unit: "percentunit", Width: 5, Height: 4, ShowName: true, Steps: goodFrom(0.9, 0.999),
			NoValue: "none wanted yet", Queries: []Query{{Expr: devices, Legend: "{{connected}} of {{wanted}}", Instant: true}},
		},
		{
			Title: "Failed", Description: "Share of all operations of the run that timed out, were refused, failed or had no answer. Throttled ones are not among them.", Kind: "stat",
			Unit: "percentunit", Width: 3, Height: 4, Steps: badFrom(0.00001, 0.01),
			Queries: []Query{{Expr: share(ofWholeRun("", failed), ofWholeRun("")), Legend: "failed", Instant: true}},
		},
		{
			Title: "Throttled", Description: "Share of all operations of the run that the target shed with 429.", Kind: "stat", Unit: "percentunit", Width: 3, Height: 4,
			Steps: badFrom(0.00001, 0.05), Queries: []Query{{Expr: share(ofWholeRun("", shed), ofWholeRun("")), Legend: "throttled", Instant: true}},
		},
		{
			Title: "Generator", Description: "Whether the load was the one that was asked for. When it was not, the figures speak of the generator, not of the " +
				"target: see the board Generator health.",
			Kind: "stat", Unit: "none", Width: 4, Height: 4, ShowName: true, Names: map[string]string{"kept up": "kept up", "not as asked": "NOT AS ASKED"},
			Colors: map[string]string{"kept up": "green", "not as asked": "red"}, Queries: []Query{
				{Expr: "min (" + ofRuns("twinfleet_run_as_asked") + ") == 1", Legend: "kept up", Instant: true},
				{Expr: "min (" + ofRuns("twinfleet_run_as_asked") + ") == 0", Legend: "not as asked", Instant: true},
			},
		},
		{
			Title: "Time left", Description: "Until the last stage of the last of the chosen runs is over, as it is planned; a dash when it is over, or when that is not known.", Kind: "stat",
			Unit: "s", Width: 3, Height: 4, Zero: "–", Queries: []Query{{Expr: "max (" + ofRuns("twinfleet_run_left_seconds") + ")", Legend: "left", Instant: true}},
		},
		{
			Title: "Thresholds", Description: "What the run is judged by: what was observed so far, of thresholds with a window in the last one, beside the bound, and of one that is missed " +
				"since how far into the run, as scrapes saw it.",
			Kind: "table", Unit: "none", Width: 11, Height: 8, NoValue: "The scenario has no thresholds: nothing is judged but that the run works.",
			Queries: []Query{{Expr: thresholds(), Instant: true}, {Expr: missedSince(), Instant: true}},
			Columns: []Column{
				{Field: "Value #A", Title: "Holds", Width: 105, Marks: map[string]string{"1": "green ✓ holds", "0": "red ✗ missed", "-1": "orange ? cannot say"}},
				{Field: "threshold", Title: "Threshold"},
				{Field: "observed", Title: "Observed", Width: 95},
				{Field: "bound", Title: "Bound", Width: 80},
				{Field: "Value #B", Title: "Since", Unit: "suffix: s", Width: 75},
			},
		},
		{
			Title: "What did not go well", Description: "Operations of the run that did not end well, by kind, group and how they ended: the most first, in number and as a share of those of " +
				"their kind and group.",
			Kind: "table", Unit: "none", Width: 8, Height: 8, NoValue: "All operations went well.",
			Queries: []Query{{Expr: "sort_desc(" + notWell + ")", Instant: true}, {Expr: notWell + " / on (operation, group) group_left () " + kept(sum("operation, group", total)), Instant: true}},
			Columns: []Column{
				{Field: "operation", Title: "Operation", Width: 120},
				{Field: "group", Title: "Group"},
				{Field: "outcome", Title: "Outcome", Width: 88, Marks: outcomeMarks()},
				{Field: "Value #A", Title: "Number", Unit: "locale", Width: 76},
				{Field: "Value #B", Title: "Share", Unit: "percentunit", Width: 70},
			},
		},
		{
			Title: "Rollouts", Description: "Devices that answered, of those of each wave of a rollout.", Kind: "bargauge", Unit: "percentunit", Width: 5, Height: 8, Max: 1,
			Steps: []Step{{"orange", 0}, {"green", 0.999}}, NoValue: "The run has no rollout, or none has begun.",
			Queries: []Query{{Expr: "sum by (rollout, wave) (" + ofRuns("twinfleet_rollout_devices", `state="answered"`) + ") / (sum by (rollout, wave) (" +
				ofRuns("twinfleet_rollout_devices", `state="planned"`) + ") > 0)", Legend: "{{rollout}}, wave {{wave}}", Instant: true}},
		},
	}}
}

// thresholds is a row for each threshold of each chosen run: whether it holds, with what is observed and the bound as texts.
func thresholds() string {
	const each = "job, instance, run, threshold"
	met := "max by (" + each + ") " + ofRuns("twinfleet_threshold_met")
	observed := "(" + measured("observed", each, "twinfleet_threshold_observed") + ` or (label_replace(` + met + ` * 0 + 1, "observed", "no data", "", "") unless on (` + each + ") " +
		ofRuns("twinfleet_threshold_observed") + "))"
	return "sort(" + met + " * on (" + each + ") group_left (observed) " + observed + " * on (" + each + ") group_left (bound) (" +
		measured("bound", each, "twinfleet_threshold_bound") + "))"
}

// missedSince is how far into the run each threshold that is missed began to be, as scrapes saw it: when it was last not missed, else when it was first seen.
func missedSince() string {
	const each = "job, instance, run, threshold"
	at := func(how, is string) string {
		return how + " by (" + each + ") (" + how + `_over_time(timestamp(twinfleet_threshold_met{run=~"$run"}` + is + ")[$__range:$__interval]))"
	}
	return "round((" + at("max", " != 0") + " or " + at("min", "") + ") - on (job, instance, run) group_left () max by (job, instance, run) " + ofRuns("twinfleet_run_started_timestamp_seconds") +
		") and on (" + each + ") (" + ofRuns("twinfleet_threshold_met") + " == 0)"
}

// now is what happens at this moment.
func now() Row {
	all := rate("", total, inGroup)
	stage := "topk by (job, instance, run) (1, max_over_time(timestamp(twinfleet_run_info{" + ofRun + `,stage!=""})[$__range:$__interval]))`
	return Row{Title: "Now, or when the run was last seen", Panels: []Panel{
		{
			Title: "Stage", Description: "The stage that each chosen run is in, or was in last.", Kind: "stat", Unit: "none", Width: 4, Height: 4, ShowName: true,
			NoValue: "no stage yet", Queries: []Query{{Expr: stage, Legend: "{{stage}}", Instant: true}},
		},
		{
			Title: "Connected", Description: "Devices of the chosen groups that hold a connection.", Kind: "stat", Unit: "locale", Width: 4, Height: 4,
			Queries: one(sum("", "twinfleet_devices", `state="connected"`, inGroup), "connected"),
		},
		{
			Title: "Operations", Description: "Operations of the chosen groups that ended, a second.", Kind: "stat", Unit: "ops", Width: 4, Height: 4,
			Queries: one(all, "ended"),
		},
		{
			Title: "Failing now", Description: "Share of operations that timed out, were refused or failed. Throttled ones are not among them.", Kind: "stat",
			Unit: "percentunit", Width: 4, Height: 4, Steps: badFrom(0.001, 0.01), Queries: one(share(rate("", total, failed, inGroup), all), "errors"),
		},
		{
			Title: "Throttled now", Description: "Share of operations that the target shed with 429.", Kind: "stat", Unit: "percentunit", Width: 4, Height: 4,
			Steps: badFrom(0.001, 0.05), Queries: one(share(rate("", total, shed, inGroup), all), "throttled"),
		},
		{
			Title: "Started late", Description: "Share of operations that started more than ten milliseconds after the schedule wanted: the generator, not " +
				"the target.", Kind: "stat", Unit: "percentunit", Width: 4, Height: 4, Steps: badFrom(0.01, 0.1),
			Queries: one(share(rate("", "twinfleet_operations_late_total", inGroup), rate("", "twinfleet_operations_scheduled_total", inGroup)), "late"),
		},
	}}
}

// stageTables are the account of each stage, and the versions.
func stageTables() Row {
	table := func(title, what, by, metric string, columns ...Column) Panel {
		return Panel{
			Title: title, Description: what, Kind: "table", Unit: "locale", Width: 8, NoValue: "No stage has begun.",
			Queries: []Query{{Expr: "sort_desc(" + kept(sum(by, metric)) + " > 0)", Instant: true}},
			Columns: append(append([]Column{{Field: "stage", Title: "Stage"}}, columns...), Column{Field: "Value", Title: "Operations"}),
		}
	}
	dropped := table("Dropped by stage", "What was wanted in each stage and never started, by reason.", "stage, reason", "twinfleet_stage_operations_dropped_total", Column{Field: "reason", Title: "Reason"})
	dropped.NoValue = "Nothing was dropped."
	return Row{Title: "Stages and versions", Folded: true, Panels: []Panel{
		table("Wanted by stage", "Operations that the schedule wanted in each stage: the sum of the two tables beside it, and of what is under way.",
			"stage", "twinfleet_stage_operations_scheduled_total"),
		table("Ended by stage", "What was wanted in each stage, by how it ended, whenever that was.", "stage, outcome", "twinfleet_stage_operations_total", Column{Field: "outcome", Title: "Outcome"}),
		dropped,
		{
			Title: "Versions", Description: "The versions of twinfleet and of Go that made the figures.", Kind: "table", Unit: "none", Width: 8, Height: 5,
			Queries: []Query{{Expr: "max by (version, goversion) (" + kept(chosen("twinfleet_build_info")) + ")", Instant: true}},
			Columns: []Column{{Field: "version", Title: "twinfleet"}, {Field: "goversion", Title: "Go"}},
		},
	}}
}
