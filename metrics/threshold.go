package metrics

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrThreshold is the class of errors of ParseThreshold. Their texts say what would be right.
var ErrThreshold = errors.New("threshold")

// Threshold is one condition that a run must meet, such as "twin_report: p(95) < 250ms".
type Threshold struct {
	Selector  string    // as written: an operation, with {group=…} or {name=…} for one of its series
	Expr      string    // as written
	Operation Operation // what Selector selects
	Group     string    // empty for all groups
	Scope     Scope     // over what it is judged

	aggregate aggregate
	quantile  float64 // of aggregate p, 0 to 1
	fromSend  bool
	op        string
	bound     float64 // nanoseconds, a share, a rate per second or a count
}

type aggregate string

const (
	aggP         aggregate = "p"
	aggAvg       aggregate = "avg"
	aggMin       aggregate = "min"
	aggMed       aggregate = "med"
	aggMax       aggregate = "max"
	aggRate      aggregate = "rate"
	aggErrors    aggregate = "error_rate"
	aggThrottled aggregate = "throttled_rate"
	aggCount     aggregate = "count"
)

const thresholdForms = "write one of p(95) < 250ms, avg < 1s, min, med, max, rate > 10/s, error_rate < 0.1%, throttled_rate < 1%, count > 100, and for queries expected_rate > 99%, correct_rate > 99%"

// A run of a dozen characters is the most that any part has; the pattern holds no nested repetition.
func thresholdPattern() *regexp.Regexp {
	return regexp.MustCompile(`^\s*([a-z_]+)\s*(?:\(([^()]*)\))?\s*(<=|>=|==|<|>)\s*(\S+)\s*$`)
}

// ParseThreshold reads a threshold. The selector is an operation, "twin_report", or one of its
// series: "twin_report{group=robots}", "query{name=redmond}". Values carry units. Latencies run from
// the intended time unless the aggregation says from=sent: "p(95, from=sent) < 50ms".
// Errors match ErrThreshold.
func ParseThreshold(selector, expr string) (Threshold, error) {
	t := Threshold{Selector: selector, Expr: expr}
	if err := t.parseSelector(selector); err != nil {
		return Threshold{}, err
	}
	m := thresholdPattern().FindStringSubmatch(expr)
	if m == nil {
		return Threshold{}, fmt.Errorf("%w %q is not <aggregation> <comparison> <value>; %s", ErrThreshold, expr, thresholdForms)
	}
	t.aggregate, t.op = aggregate(m[1]), m[3]
	if err := t.parseArguments(m[2]); err != nil {
		return Threshold{}, err
	}
	return t, t.parseBound(m[4])
}

func (t *Threshold) parseSelector(s string) error {
	name, labels, braces := strings.Cut(s, "{")
	t.Operation = Operation(strings.TrimSpace(name))
	if !t.Operation.known() || t.Operation == OpOther {
		names := make([]string, 0, len(Operations()))
		for _, o := range Operations() {
			if o != OpOther {
				names = append(names, string(o))
			}
		}
		return fmt.Errorf("%w for unknown operation %q; the operations are %s", ErrThreshold, name, strings.Join(names, ", "))
	}
	if !braces {
		return nil
	}
	label, value, ok := strings.Cut(strings.TrimSuffix(labels, "}"), "=")
	label, value = strings.TrimSpace(label), strings.TrimSpace(value)
	if !ok || !strings.HasSuffix(labels, "}") || (label != "group" && label != "name") || value == "" {
		return fmt.Errorf("%w selector %q: write %s{group=…}, or query{name=…}", ErrThreshold, s, name)
	}
	t.Group = value
	return nil
}

func (t *Threshold) parseArguments(args string) error {
	switch t.aggregate {
	case aggAvg, aggMin, aggMed, aggMax, aggRate, aggErrors, aggThrottled, aggCount, aggP, aggExpected, aggCorrect:
	default:
		return fmt.Errorf("%w %q: unknown aggregation %q; %s", ErrThreshold, t.Expr, t.aggregate, thresholdForms)
	}
	percentile := ""
	for i, arg := range strings.Split(args, ",") {
		arg = strings.TrimSpace(arg)
		switch {
		case arg == "from=sent":
			t.fromSend = true
		case arg == "from=intended", arg == "":
		case i == 0 && t.aggregate == aggP:
			percentile = arg
		default:
			return fmt.Errorf("%w %q: unknown argument %q; from=sent or from=intended may be given", ErrThreshold, t.Expr, arg)
		}
	}
	if t.aggregate != aggP {
		return nil
	}
	n, err := strconv.ParseFloat(percentile, 64)
	if err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("%w %q: p(%s) needs a number from 0 to 100, as in p(95)", ErrThreshold, t.Expr, percentile)
	}
	t.quantile = n / 100
	return nil
}

func (t *Threshold) parseBound(s string) error {
	bad := func(example string) error {
		return fmt.Errorf("%w %q: the value %q needs a unit, as in %s", ErrThreshold, t.Expr, s, example)
	}
	number := func(text string) (float64, bool) {
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && v >= 0
	}
	var ok bool
	switch t.aggregate {
	case aggErrors, aggThrottled:
		text, percent := strings.CutSuffix(s, "%")
		if t.bound, ok = number(text); !ok || !percent {
			return bad("0.1%")
		}
		t.bound /= 100
	case aggExpected, aggCorrect:
		return t.parseShare(s)
	case aggRate:
		text, unit := strings.CutSuffix(s, "/s")
		if t.bound, ok = number(text); !ok || !unit {
			return bad("10/s")
		}
	case aggCount:
		if t.bound, ok = number(s); !ok {
			return fmt.Errorf("%w %q: count compares with a number, as in count > 100", ErrThreshold, t.Expr)
		}
	default:
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return bad("250ms")
		}
		t.bound = float64(d)
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

// Verdict is what became of a threshold.
type Verdict struct {
	Threshold string `json:"threshold"` // as written
	Observed  string `json:"observed"`  // the value that was compared, with its unit
	Pass      bool   `json:"pass"`
	NoData    bool   `json:"no_data,omitempty"` // nothing was observed; that is not a pass
	// CannotSay is that the threshold was neither met nor missed: the load was not the one that was asked for, as Why says.
	CannotSay bool   `json:"cannot_say,omitempty"`
	Why       string `json:"why,omitempty"`
}

// Evaluate compares what a snapshot holds: of a whole run, a stage or a window. A threshold
// without data does not pass; only a count can be compared with nothing.
func (t Threshold) Evaluate(s *Snapshot) Verdict {
	v, _ := t.evaluate(s)
	return v
}

// evaluate also says how far the observed value is past the bound, as a share of the bound: above 0
// the threshold is missed by so much.
func (t Threshold) evaluate(s *Snapshot) (v Verdict, excess float64) {
	if t.aggregate.ofQueries() {
		return t.evaluateQueries(s)
	}
	v = Verdict{Threshold: t.String()}
	series := s.Select(t.Operation, t.Group)
	if series == nil {
		series = &SeriesSnapshot{}
	}
	ended, observed := series.Ended(), 0.0
	switch {
	case t.aggregate == aggCount:
		observed = float64(series.Count(OK))
		v.Observed = "count = " + strconv.FormatUint(series.Count(OK), 10)
	case t.isLatency():
		d, ok := t.latency(series)
		if !ok {
			v.NoData, v.Observed = true, "no data"
			return v, 0
		}
		observed = float64(d)
		v.Observed = fmt.Sprintf("%s = %v", t.label(), d.Round(10*time.Microsecond))
	case ended == 0:
		v.NoData, v.Observed = true, "no data"
		return v, 0
	case t.aggregate == aggRate:
		observed = float64(series.Count(OK)) / max(s.Elapsed.Seconds(), 1e-9)
		v.Observed = fmt.Sprintf("rate = %.1f/s", observed)
	case t.aggregate == aggErrors:
		observed = float64(series.Errors()) / float64(ended)
		v.Observed = fmt.Sprintf("error_rate = %.3g%%", observed*100)
	default:
		observed = float64(series.Count(Throttled)) / float64(ended)
		v.Observed = fmt.Sprintf("throttled_rate = %.3g%%", observed*100)
	}
	v.Pass = t.holds(observed)
	return v, t.excess(observed)
}

// isLatency reports whether the threshold is on a time.
func (t Threshold) isLatency() bool {
	switch t.aggregate {
	case aggP, aggAvg, aggMin, aggMed, aggMax:
		return true
	}
	return false
}

// stuck is how many operations were due in a window in which none ended: those that were dropped, other than on purpose,
// and those that were under way all the while.
func (t Threshold) stuck(window *Snapshot) uint64 {
	series := window.Select(t.Operation, t.Group)
	if series == nil || series.Ended() > 0 {
		return 0
	}
	due := series.DroppedTotal() - series.Dropped[DropPaused] - series.Dropped[DropStopped]
	return due + series.OpenFor(window.Elapsed)
}

// excess is how far a value is on the wrong side of the bound, as a share of it; below 0 on the right side.
func (t Threshold) excess(observed float64) float64 {
	past := observed - t.bound
	if t.op == ">" || t.op == ">=" {
		past = -past
	}
	if t.op == "==" {
		past = math.Abs(past)
	}
	return past / max(t.bound, 1e-9)
}

func (t Threshold) label() string {
	if t.aggregate == aggP {
		return "p(" + strconv.FormatFloat(t.quantile*100, 'g', 6, 64) + ")"
	}
	return string(t.aggregate)
}

// latency is the time that is compared; ok is false when nothing tells of it. What is under way for longer than the bound
// already, and will not be faster, counts with the time that it has reached.
func (t Threshold) latency(series *SeriesSnapshot) (d time.Duration, ok bool) {
	h := series.Latency(t.fromSend)
	if t.op == "<" || t.op == "<=" {
		h = h.Merge(series.openLonger(time.Duration(t.bound)))
	}
	if h.Count == 0 {
		return 0, false
	}
	switch t.aggregate {
	case aggAvg:
		return h.Mean(), true
	case aggMin:
		return h.Minimum(), true
	case aggMed:
		return h.Quantile(0.5), true
	case aggMax:
		return h.Maximum(), true
	default:
		return h.Quantile(t.quantile), true
	}
}

func (t Threshold) holds(x float64) bool {
	switch t.op {
	case "<":
		return x < t.bound
	case "<=":
		return x <= t.bound
	case ">":
		return x > t.bound
	case ">=":
		return x >= t.bound
	default:
		return x == t.bound
	}
}
