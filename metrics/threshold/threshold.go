// Package threshold is the language of the conditions that a run must meet, such as "twin_report: p(95) < 250ms".
//
// Parse reads one; Evaluate compares it with the figures of a snapshot and gives a Verdict. Over which part of a run it is
// compared, its Scope says; package judge follows thresholds through a run.
package threshold

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold/internal/aggregate"
	"github.com/twinfleet/twinfleet/metrics/threshold/internal/bound"
)

// ErrInvalid is the class of errors of Parse. Their texts say what would be right.
var ErrInvalid = errors.New("threshold")

// Threshold is one condition that a run must meet, such as "twin_report: p(95) < 250ms".
type Threshold struct {
	Selector  string            // as written: an operation, or OfDevices, with {group=…} or {name=…} for one of its series
	Expr      string            // as written
	Operation metrics.Operation // what Selector selects
	Group     string            // empty for all groups
	Scope     Scope             // over what it is judged

	aggregate aggregate.Aggregate
	quantile  float64 // of aggregate p, 0 to 1
	only      string  // of what the aggregate counts; empty for all
	fromSend  bool
	bound     bound.Bound
}

// OfDevices is the Operation of thresholds that are about the states of devices and not about operations.
const OfDevices metrics.Operation = "devices"

const forms = "write one of p(95) < 250ms, avg, min, med or max; rate > 10/s; " +
	"count > 100, scheduled, on_time, late, dropped, errors, timeouts, refused, throttled or unanswered == 0; " +
	"success_rate > 99.9%, on_time_rate, late_rate, dropped_rate, error_rate, timeout_rate, refused_rate, throttled_rate or unanswered_rate < 1%; " +
	"for deliveries duplicates, out_of_order or missing == 0, duplicate_rate, out_of_order_rate or missing_rate; " +
	"for queries expected_rate > 99% or correct_rate; for devices connected_rate > 99% or connected; compared with <, <=, >, >=, == or !="

// A run of a dozen characters is the most that any part has; the pattern holds no nested repetition.
func pattern() *regexp.Regexp {
	return regexp.MustCompile(`^\s*([a-z_]+)\s*(?:\(([^()]*)\))?\s*(<=|>=|==|!=|<|>|=)\s*(\S+)\s*$`)
}

// Parse reads a threshold. The selector is an operation, "twin_report", or one of its
// series: "twin_report{group=robots}", "query{name=redmond}"; or "devices". Values carry units. Latencies run from
// the intended time unless the aggregation says from=sent: "p(95, from=sent) < 50ms".
// Operations are those of metrics.Operations: one of a program's own has no thresholds. Errors match ErrInvalid.
func Parse(selector, expr string) (Threshold, error) {
	t := Threshold{Selector: selector, Expr: expr}
	if err := t.parseSelector(selector); err != nil {
		return Threshold{}, err
	}
	m := pattern().FindStringSubmatch(expr)
	if m == nil {
		return Threshold{}, fmt.Errorf("%w %q is not <aggregation> <comparison> <value>; %s", ErrInvalid, expr, forms)
	}
	if t.aggregate, t.bound.Op = aggregate.Aggregate(m[1]), m[3]; t.bound.Op == "=" {
		t.bound.Op = "=="
	}
	for _, parse := range []func() error{t.checkAggregate, func() error { return t.parseArguments(m[2]) }, func() error { return t.parseBound(m[4]) }} {
		if err := parse(); err != nil {
			return Threshold{}, err
		}
	}
	return t, nil
}

func (t *Threshold) parseSelector(s string) error {
	name, labels, braces := strings.Cut(s, "{")
	t.Operation = metrics.Operation(strings.TrimSpace(name))
	if t.Operation != OfDevices && !slices.Contains(metrics.Operations(), t.Operation) || t.Operation == metrics.OpOther {
		names := make([]string, 0, len(metrics.Operations()))
		for _, o := range metrics.Operations() {
			if o != metrics.OpOther {
				names = append(names, string(o))
			}
		}
		return fmt.Errorf("%w for unknown operation %q; the operations are %s; %s are judged too", ErrInvalid, name, strings.Join(names, ", "), OfDevices)
	}
	if !braces {
		return nil
	}
	label, value, ok := strings.Cut(strings.TrimSuffix(labels, "}"), "=")
	label, value = strings.TrimSpace(label), strings.TrimSpace(value)
	if !ok || !strings.HasSuffix(labels, "}") || (label != "group" && label != "name") || value == "" {
		return fmt.Errorf("%w selector %q: write %s{group=…}, or query{name=…}", ErrInvalid, s, name)
	}
	t.Group = value
	return nil
}

// checkAggregate holds the aggregate to what the selector has.
func (t *Threshold) checkAggregate() error {
	switch {
	case t.aggregate.Unit() == aggregate.None:
		return fmt.Errorf("%w %q: unknown aggregation %q; %s", ErrInvalid, t.Expr, t.aggregate, forms)
	case t.aggregate.OfQueries() && t.Operation != metrics.OpQuery:
		return fmt.Errorf("%w %q: only queries have it; write query{name=…}", ErrInvalid, t.Expr)
	case t.aggregate.OfDeliveries() && t.Operation != metrics.OpDelivery:
		return fmt.Errorf("%w %q: only deliveries have it; write delivery: …", ErrInvalid, t.Expr)
	case t.aggregate.OfDevices() != (t.Operation == OfDevices):
		return fmt.Errorf("%w %q: %s have connected and connected_rate, operations have the others", ErrInvalid, t.Expr, OfDevices)
	}
	return nil
}

func (t *Threshold) parseArguments(args string) error {
	percentile := ""
	for i, arg := range strings.Split(args, ",") {
		arg = strings.TrimSpace(arg)
		switch {
		case arg == "":
		case t.aggregate.Unit() == aggregate.Time && arg == "from=sent":
			t.fromSend = true
		case t.aggregate.Unit() == aggregate.Time && arg == "from=intended":
		case i == 0 && t.aggregate == aggregate.P:
			percentile = arg
		case i == 0 && slices.Contains(t.aggregate.Arguments(), arg):
			t.only = arg
		case len(t.aggregate.Arguments()) > 0:
			return fmt.Errorf("%w %q: unknown argument %q; there is %s", ErrInvalid, t.Expr, arg, strings.Join(t.aggregate.Arguments(), ", "))
		case t.aggregate.Unit() == aggregate.Time:
			return fmt.Errorf("%w %q: unknown argument %q; from=sent or from=intended may be given", ErrInvalid, t.Expr, arg)
		default:
			return fmt.Errorf("%w %q: unknown argument %q; %s has none", ErrInvalid, t.Expr, arg, t.aggregate)
		}
	}
	if t.aggregate != aggregate.P {
		return nil
	}
	n, err := strconv.ParseFloat(percentile, 64)
	if err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("%w %q: p(%s) needs a number from 0 to 100, as in p(95)", ErrInvalid, t.Expr, percentile)
	}
	t.quantile = n / 100
	return nil
}

// parseBound reads the value. One that nothing can meet is a mistake.
func (t *Threshold) parseBound(s string) error {
	number := func(text string) (float64, bool) {
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && v >= 0 && !math.IsInf(v, 0)
	}
	ok, example := false, ""
	switch t.aggregate.Unit() {
	case aggregate.Share:
		example = "0.1%"
		text, percent := strings.CutSuffix(s, "%")
		t.bound.Value, ok = number(text)
		if ok = ok && percent; ok && t.bound.Value > 100 {
			return fmt.Errorf("%w %q: a share is at most 100%%", ErrInvalid, t.Expr)
		}
		t.bound.Value /= 100
	case aggregate.PerSecond:
		example = "10/s"
		text, unit := strings.CutSuffix(s, "/s")
		t.bound.Value, ok = number(text)
		ok = ok && unit
	case aggregate.Count:
		if t.bound.Value, ok = number(s); !ok {
			return fmt.Errorf("%w %q: %s compares with a number, as in %[3]s > 100", ErrInvalid, t.Expr, t.aggregate)
		}
	default:
		example = "250ms"
		d, err := time.ParseDuration(s)
		t.bound.Value, ok = float64(d), err == nil && d >= 0
	}
	switch {
	case !ok:
		return fmt.Errorf("%w %q: the value %q needs a unit, as in %s", ErrInvalid, t.Expr, s, example)
	case t.bound.Value == 0 && t.bound.Op == "<", t.aggregate.Unit() == aggregate.Share && t.bound.Value == 1 && t.bound.Op == ">":
		return fmt.Errorf("%w %q: nothing is %s %s", ErrInvalid, t.Expr, t.bound.Op, s)
	}
	return nil
}

// String is the threshold as it was written.
func (t Threshold) String() string {
	text := t.Selector + ": " + t.Expr
	if scope := t.Scope.String(); scope != "" {
		text += " (" + scope + ")"
	}
	return text
}
