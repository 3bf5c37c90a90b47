package grafana

import (
	"maps"
	"slices"
	"strings"
)

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

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

// inGroup keeps the chosen groups.
const inGroup = `group=~"$group"`

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

func clause(by string) string {
	if by == "" {
		return ""
	}
	return " by (" + by + ")"
}

// share is a part of a whole; nothing when the whole is nothing.
func share(part, whole string) string { return part + " / (" + whole + " > 0)" }

// quantile is one of a histogram's quantiles, such as 0.99 or $quantile.
func quantile(q, by, metric string, labels ...string) string {
	le := "le"
	if by != "" {
		le += ", " + by
	}
	return "histogram_quantile(" + q + ", " + rate(le, metric+"_bucket", labels...) + ")"
}

// within is the share of a histogram's values that are at the most an edge, in seconds. Servers write the
// edge as 1 or as 1.0.
func within(edge, metric string, labels ...string) string {
	return share(rate("", metric+"_bucket", append([]string{`le=~"` + edge + `([.]0)?"`}, labels...)...), rate("", metric+"_count", labels...))
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
	return one(rate("le", metric+"_bucket", labels...), "{{le}}")
}

// Colours of outcomes and states, the same on all boards.
func outcomeColors() map[string]string {
	return map[string]string{"ok": "green", "throttled": "orange", "timeout": "red", "refused": "purple", "error": "dark-red"}
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
