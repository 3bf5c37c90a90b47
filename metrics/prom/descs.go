package prom

import "github.com/prometheus/client_golang/prometheus"

// descs are the names, helps and labels of all that the collector sends.
type descs struct {
	response, service, lag                                    *prometheus.Desc
	total, scheduled, late, dropped, inFlight                 *prometheus.Desc
	devices, queryResults, queryPages, queryRuns, build, info *prometheus.Desc
	runTotal, responseMax, serviceMax, lagMax                 *prometheus.Desc
	queryExpectations, queryRows                              *prometheus.Desc
	stageScheduled, stageTotal, stageDropped                  *prometheus.Desc
}

func newDescs() descs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("twinfleet_"+name, help, labels, nil)
	}
	return descs{
		response: desc("operation_duration_seconds",
			"Time of operations that ended, from when the schedule wanted them to start, so that a stalled target cannot hide behind a "+
				"generator that waited for it.", "operation", "group", "outcome"),
		service: desc("operation_service_duration_seconds",
			"Time of operations that ended, from when they were really sent: what the target alone took.", "operation", "group", "outcome"),
		lag: desc("schedule_lag_seconds",
			"Time from when the schedule wanted operations to start to when they were sent: how far behind the generator is.", "operation", "group"),
		responseMax: desc("operation_duration_max_seconds",
			"The longest time so far of an operation that ended, from when the schedule wanted it to start.", "operation", "group", "outcome"),
		serviceMax: desc("operation_service_duration_max_seconds",
			"The longest time so far of an operation that ended, from when it was really sent.", "operation", "group", "outcome"),
		lagMax: desc("schedule_lag_max_seconds",
			"The longest time so far from when the schedule wanted an operation to start to when it was sent.", "operation", "group"),
		total: desc("operations_total",
			"Operations that ended, by outcome: ok, throttled (429), timeout, refused (credentials or permissions), error, unanswered "+
				"(nobody waited to the end).", "operation", "group", "outcome"),
		scheduled: desc("operations_scheduled_total",
			"Operations that the schedule wanted: the sum of those that started on time, started late, or were dropped.", "operation", "group"),
		late: desc("operations_late_total",
			"Operations that started more than ten milliseconds after the schedule wanted them to.", "operation", "group"),
		dropped: desc("operations_dropped_total",
			"Operations that the schedule wanted and that never started, by reason.", "operation", "group", "reason"),
		inFlight: desc("operations_in_flight",
			"Operations that started and have not ended.", "operation", "group"),
		devices: desc("devices",
			"Devices by state: waiting (not started), connecting, connected, backoff (lost or refused, will try again), offline (between "+
				"sessions).", "group", "state"),
		queryResults: desc("query_results",
			"Items in the last whole result of a query.", "query"),
		queryPages: desc("query_pages_total",
			"Pages read of the results of a query.", "query"),
		queryRuns: desc("query_runs_total",
			"Runs of a query that were read to the end.", "query"),
		queryExpectations: desc("query_expectations_total",
			"Results of a query by whether they had the expected size: met or unmet.", "query", "result"),
		stageScheduled: desc("stage_operations_scheduled_total",
			"Operations that the schedule wanted in a stage; those outside of all stages have none. The sum of all outcomes, the dropped "+
				"ones, and those under way.", "stage", "operation"),
		stageTotal: desc("stage_operations_total",
			"Operations that were wanted in a stage and ended, whenever that was, by outcome.", "stage", "operation", "outcome"),
		stageDropped: desc("stage_operations_dropped_total",
			"Operations that were wanted in a stage and never started, by reason.", "stage", "operation", "reason"),
		queryRows: desc("query_rows_total",
			"Sampled devices in the results of a query by what the freshness audit found: ok, missing, extra, stale, unjudged.", "query", "check"),

		runTotal: desc("run_operations_total",
			"Operations of the run that ended, of all kinds and groups together, by outcome.", "run", "outcome"),
		build: desc("build_info",
			"The version of this program as labels; always 1.", "version", "goversion"),
		info: desc("run_info",
			"The run as labels, with the stage it is in; always 1. Join other series to it on job and instance.", "run", "scenario", "stage"),
	}
}
