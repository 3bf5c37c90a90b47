package grafana

import "strings"

// ofRun picks runs in twinfleet_run_info.
const ofRun = `run=~"$run",scenario=~"$scenario"`

// chosen keeps the series of the chosen runs. It matches by job and instance, and any number of stages: a set
// operator does not mind that a stage's series overlaps with the next one's.
func chosen(series string) string {
	return series + " and on (job, instance) twinfleet_run_info{" + ofRun + "}"
}

// pick is a metric's series with these labels.
func pick(metric string, labels ...string) string {
	if len(labels) == 0 {
		return metric
	}
	return metric + "{" + strings.Join(labels, ",") + "}"
}

// inGroup keeps the chosen groups, with their kinds of messages, whose label is GROUP/KIND; inSomeGroup leaves out what has none.
const (
	inGroup     = `group=~"($group)(/.*)?"`
	inSomeGroup = `group=~"($group)(/.*)?",group!=""`
)

// failed and the operations of the twins, of the service side.
const (
	failed  = `outcome=~"timeout|refused|error|unanswered"`
	ok      = `outcome="ok"`
	shed    = `outcome="throttled"`
	perStep = "[$__rate_interval]"
)

func op(names ...string) string {
	if len(names) == 1 {
		return `operation="` + names[0] + `"`
	}
	return `operation=~"` + strings.Join(names, "|") + `"`
}

// sum adds up the current values of the chosen runs.
func sum(by, metric string, labels ...string) string {
	return "sum" + clause(by) + " (" + chosen(pick(metric, labels...)) + ")"
}

// rate adds up rates of counters of the chosen runs.
func rate(by, metric string, labels ...string) string {
	return "sum" + clause(by) + " (" + chosen("rate("+pick(metric, labels...)+perStep+")") + ")"
}

// happened is rate without what never happened in the run.
func happened(by, metric string, labels ...string) string {
	return rate(by, metric, labels...) + " and on (" + by + ") (" + sum(by, metric, labels...) + " > 0)"
}

func clause(by string) string {
	if by == "" {
		return ""
	}
	return " by (" + by + ")"
}

// share is a part of a whole; nothing when the whole is nothing.
func share(part, whole string) string { return part + " / (" + whole + " > 0)" }

// ofRuns is what was last seen, in the chosen time, of a metric that has the run as a label, also when the run is over.
func ofRuns(metric string, labels ...string) string {
	return "(" + seen(pick(metric, append([]string{`run=~"$run"`}, labels...)...)) + " and on (job, instance, run) " + seen("twinfleet_run_info{"+ofRun+"}") + ")"
}

// seen is what a series was last in the chosen time.
func seen(series string) string { return "last_over_time(" + series + "[$__range])" }

// kept is what an expression gave last in the chosen time: it outlives the run.
func kept(expr string) string { return "last_over_time((" + expr + ")[$__range:$__interval])" }

// text makes a label of numbers, as people write them: a fact such as 1,000 of 1,200 is a name in Grafana.
func text(label, by, expr, form string) string {
	return `label_replace(count_values by (` + by + `) ("` + label + `", ` + expr + `), "` + label + `", "` + form + `", "` + label + `", "(.*)")`
}

// thousands is text of numbers, whole ones with commas.
func thousands(label, by, expr string) string {
	return `label_replace(label_replace(` + text(label, by, expr, "$1") + `, "` + label + `", "$1,$2", "` + label + `", "([0-9]+)([0-9]{3})"), "` +
		label + `", "$1,$2", "` + label + `", "([0-9]+)([0-9]{3},.*)")`
}

// measured is text of what thresholds compare, in its unit.
func measured(label, by, metric string) string {
	of := func(unit string) string { return "max by (" + by + ") " + ofRuns(metric, `unit="`+unit+`"`) }
	return strings.Join([]string{
		text(label, by, "round(1000 * ("+of("seconds")+" < 1), 0.1)", "$1 ms"),
		text(label, by, "round("+of("seconds")+" >= 1, 0.01)", "$1 s"),
		text(label, by, "round(100 * "+of("ratio")+", 0.01)", "$1 %"),
		text(label, by, "round("+of("per_second")+", 0.01)", "$1/s"),
		thousands(label, by, "round("+of("number")+", 0.01)"),
	}, " or ")
}

// longest is the metric that has the maximum of a histogram, and counted the one that counts as it does.
func longest(histogram string) (longest, counted string) {
	if histogram == lag {
		return "twinfleet_schedule_lag_max_seconds", "twinfleet_operations_scheduled_total"
	}
	return strings.Replace(histogram, "duration_seconds", "duration_max_seconds", 1), total
}

// quantile is one of a histogram's quantiles, such as 0.99 or $quantile: from native buckets where Prometheus keeps them, else from
// classic ones, and never above the maximum, which the edge of a bucket may be.
func quantile(q, by, metric string, labels ...string) string {
	le := "le"
	if by != "" {
		le += ", " + by
	}
	most, counted := longest(metric)
	limit := "max" + clause(by) + " (" + chosen(pick(most, labels...)) + ") and on (" + by + ") " + rate(by, counted, labels...) + " > 0"
	some := " > 0" // where nothing ended native buckets give 0
	if metric == lag {
		some = " >= 0" // most operations start in time; not a number is left out
	}
	return "min" + clause(by) + " (histogram_quantile(" + q + ", " + rate(by, metric, labels...) + ")" + some + " or histogram_quantile(" + q + ", " +
		rate(le, metric+"_bucket", labels...) + ")" + some + ` or label_replace(` + limit + `, "is", "the maximum", "", ""))`
}

// within is the share of a histogram's values that are at the most an edge, in seconds. Servers write the
// edge as 1 or as 1.0.
func within(edge, metric string, labels ...string) string {
	return share(rate("", metric+"_bucket", append([]string{`le=~"` + edge + `([.]0)?"`}, labels...)...), rate("", metric+"_count", labels...)) +
		" or histogram_fraction(0, " + edge + ", " + rate("", metric, labels...) + ")"
}

// quantiles are the three that are asked for most, in one panel.
func quantiles(metric string, labels ...string) []Query {
	var all []Query
	for _, q := range []struct{ value, legend string }{{"0.5", "p50"}, {"0.95", "p95"}, {"0.99", "p99"}} {
		all = append(all, Query{Expr: quantile(q.value, "", metric, labels...), Legend: q.legend})
	}
	return all
}

func one(expr, legend string) []Query { return []Query{{Expr: expr, Legend: legend}} }

// heat is how often a histogram's values fell into each bucket.
func heat(metric string, labels ...string) []Query {
	classic := rate("le", metric+"_bucket", labels...)
	return one(classic+" or ("+rate("", metric, labels...)+" unless on () "+classic+")", "{{le}}")
}

// Colours of outcomes and states, the same on all boards.
func outcomeColors() map[string]string {
	return map[string]string{"ok": "green", "throttled": "orange", "timeout": "red", "refused": "purple", "error": "dark-red", "unanswered": "gray"}
}

func stateColors() map[string]string {
	return map[string]string{"waiting": "gray", "connecting": "blue", "connected": "green", "backoff": "red", "offline": "yellow"}
}

// badFrom is green, then orange, then red.
func badFrom(orange, red float64) []Step {
	return []Step{{"green", 0}, {"orange", orange}, {"red", red}}
}

// goodFrom is red, then orange, then green.
func goodFrom(orange, green float64) []Step {
	return []Step{{"red", 0}, {"orange", orange}, {"green", green}}
}
