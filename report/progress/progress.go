// Package progress tells in a line how a run goes on.
package progress

import (
	"cmp"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/human"
)

// WaitingLine is the state of the wait for the last answers in one line; left is 0 when it is not known.
func WaitingLine(at time.Duration, waiting int, left time.Duration) string {
	return fmt.Sprintf("%7s  %s", human.Duration(at), Waiting(waiting, left))
}

// Waiting says how many answers are waited for after the last stage, and for how long at most.
func Waiting(waiting int, left time.Duration) string {
	text := "waiting for answers: " + human.Count(waiting)
	if left > 0 {
		text += ", at most " + human.Duration(left.Round(time.Second)) + " more"
	}
	return text
}

// Line is the figures of the last second in one line.
func Line(stage string, total, interval *metrics.Snapshot) string {
	devices := total.DevicesIn("connected")
	line := fmt.Sprintf("%7s  %-12s %7s connected", human.Duration(total.Elapsed), cmp.Or(stage, "–"), human.Count(devices))
	if lost := total.DevicesIn("backoff"); lost > 0 {
		line += fmt.Sprintf(" (%s lost)", human.Count(lost))
	}
	var ended, errs, throttled uint64
	for i := range interval.Series {
		x := &interval.Series[i]
		ended += x.Ended()
		errs += x.Errors()
		throttled += x.Count(metrics.Throttled)
	}
	line += fmt.Sprintf("  %9s", human.Rate(float64(ended)/max(interval.Elapsed.Seconds(), 1e-9)))
	for _, l := range []struct {
		op   metrics.Operation
		name string
	}{{metrics.OpTwinReport, "report"}, {metrics.OpTelemetry, "telemetry"}, {metrics.OpConnect, "connect"}} {
		x := interval.Select(l.op, "")
		if x == nil || x.Ended() == 0 {
			continue
		}
		h := x.Latency(false)
		line += fmt.Sprintf("  %s p50 %s p99 %s", l.name, human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.99)))
		break
	}
	if throttled > 0 {
		line += fmt.Sprintf("  throttled %s", human.Count(throttled))
	}
	return line + fmt.Sprintf("  errors %s", human.Count(errs))
}
