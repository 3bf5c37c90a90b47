package trial

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/steady"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// Engine runs a trial. It is scenario/engine's, or one of a test. One that keeps a record has a method Dir() string, which says in which
// folder, and Kept() error, which says why it could not be written.
type Engine interface {
	Run(ctx context.Context) *report.Run
	Leave(stage string)
}

// Start makes the engine of a trial.
type Start func(o engine.Options) Engine

// Errors of Run. Both end a search.
var (
	// ErrInterrupted is returned for a trial that somebody stopped: nothing follows from it.
	ErrInterrupted = errors.New("the trial was stopped")
	// ErrNotClean is returned when the target did not come back, at the lowest load, to what it was at first.
	ErrNotClean = errors.New("the target is not what it was")
	// ErrNoData is returned when a threshold had nothing to judge while the load was held: of the load nothing is said.
	ErrNoData = errors.New("a threshold had nothing to judge")
	// ErrUnreachable is returned when no device ever connected, or the run could not begin.
	ErrUnreachable = errors.New("the target cannot be loaded")
	// ErrTarget is for whoever checks what is needed for a trial: the target cannot be made as large as its load needs it.
	ErrTarget = errors.New("the target has too little room")
	// ErrUnkept is returned when a record that was asked for could not be written: that says nothing of the load, and the trials to
	// come could not be kept either.
	ErrUnkept = errors.New("a trial could not be kept")
)

// Kept says why the record of an engine's run could not be written, as an ErrUnkept; nil when it was, or none was asked for.
func Kept(eng Engine) error {
	if k, ok := eng.(interface{ Kept() error }); ok {
		if err := k.Kept(); err != nil {
			return fmt.Errorf("%w: %w", ErrUnkept, err)
		}
	}
	return nil
}

// Run runs a trial and reads its record. baseline is how long operations took at the lowest load at first, in seconds; 0 when that is
// not known yet. until is when the trial is given up; never when it is zero.
func (b *Base) Run(ctx context.Context, t *Trial, start Start, baseline float64, until time.Time) (Record, error) {
	began := time.Now()
	rec := metrics.NewRecorder(metrics.Options{})
	w := newWatch(t, b, rec, baseline)
	eng := start(engine.Options{Scenario: t.Scenario, Recorder: rec, Observers: []report.Observer{w.observer()}, Preparing: Preparing()})
	w.leave = eng.Leave
	if s, ok := eng.(interface{ Stop() }); ok && !until.IsZero() {
		defer time.AfterFunc(time.Until(until), s.Stop).Stop()
	}
	watching, stop := context.WithCancel(ctx)
	var idle sync.WaitGroup
	idle.Go(func() { w.idle(watching) })
	run := eng.Run(ctx)
	stop()
	idle.Wait()
	r := Record{Load: t.Load, Seed: t.Scenario.Seed, Started: began.UTC(), Seconds: time.Since(began).Seconds(), Devices: t.Devices, Thresholds: run.Thresholds}
	r.Settled, r.Drained, r.Lowest = w.seen.settled, w.seen.drained, w.seen.lowest
	if kept, ok := eng.(interface{ Dir() string }); ok {
		r.Dir = kept.Dir()
	}
	hold := held(run)
	if hold != nil {
		b.measure(&r, hold)
		r.Done = float64(w.seen.done) / max(w.seen.doneIn.Seconds(), 1e-9)
		// Agents tell late what ended. Where all ends soon, what was due in the time is what ended in it.
		const soon = 0.1
		if len(run.Agents) > 0 && r.P99 < soon*hold.Elapsed.Seconds() {
			r.Done = r.Offered * (1 - r.Shed - r.Failed)
		}
	}
	if v := w.seen.hold; !t.Cleans && v != nil && len(v.Values()) > 0 {
		r.Lowest = v.Of(0).Median
	}
	r.Uses = Uses(run, stageSettle, Hold)
	var err error
	why, final := Unmade(eng)
	stopped := context.Cause(ctx) != nil || !until.IsZero() && !time.Now().Before(until)
	switch {
	case why != nil && stopped: // whatever it says: it was not given the time
		err = fmt.Errorf("%w: %s", ErrInterrupted, run.Reason)
	case why != nil && run.Outcome != report.Interrupted:
		r.unmade(OneLine(why), final)
		r.Away = !final
	default:
		err = b.judge(&r, run, hold, w)
	}
	if unkept := Kept(eng); unkept != nil && !errors.Is(err, ErrInterrupted) {
		err = unkept
	}
	return r, err
}

// held is the account of what was intended while the load was judged; nil when the run did not come so far.
func held(run *report.Run) *metrics.Snapshot {
	for i := range run.Stages {
		if s := &run.Stages[i]; s.Name == Hold && s.Totals != nil {
			x := *s.Totals
			x.Elapsed = s.To - s.From
			return &x
		}
	}
	return nil
}

// judgedOps are the operations by which a trial's load is followed.
func (b *Base) judgedOps() []metrics.Operation { return b.loaded() }

// measure reads the figures of the load.
func (b *Base) measure(r *Record, hold *metrics.Snapshot) {
	var all metrics.SeriesSnapshot
	seconds := max(hold.Elapsed.Seconds(), 1e-9)
	var due, well, shed, ended uint64
	for _, op := range b.judgedOps() {
		x := hold.Select(op, "")
		if x == nil {
			continue
		}
		due += x.Scheduled()
		well += x.Count(metrics.OK)
		shed += x.Count(metrics.Throttled)
		ended += x.Ended()
		for o := range all.Response {
			all.Response[o] = all.Response[o].Merge(x.Response[o])
		}
	}
	r.Offered = float64(due) / seconds
	latency := all.Latency(false)
	r.P50, r.P99 = latency.Quantile(0.5).Seconds(), latency.Quantile(0.99).Seconds()
	if due > 0 {
		r.Shed = float64(shed) / float64(due)
		r.Failed = float64(due-min(due, well+shed)) / float64(due)
	}
}

// judge gives a record its verdict.
func (b *Base) judge(r *Record, run *report.Run, hold *metrics.Snapshot, w *watch) error {
	switch {
	case run.Outcome == report.Interrupted:
		return fmt.Errorf("%w: %s", ErrInterrupted, run.Reason)
	case Lost(run) != "": // before all that follows from it
		r.unmade(Lost(run), false)
		r.Away = true
		return nil
	case w.seen.gone && b.quota(run.Totals):
		r.Verdict, r.Limit, r.Class, r.Why = search.Spent, ByQuota, "messages a day", "the day's messages were used up in this trial: the hub let nobody in any more"
		return nil
	case w.seen.gone && connects(run) > 0:
		return fmt.Errorf("%w: all devices lost their connections and none came back for %s", ErrUnreachable, goneFor)
	case w.seen.gone:
		return fmt.Errorf("%w: %s", ErrUnreachable, run.Reason)
	case !w.seen.clean:
		return fmt.Errorf("%w: at the lowest load %s take %s in the median; at first it was %s", ErrNotClean, b.Vary.What(), Seconds(w.seen.lowest), Seconds(w.baseline))
	case hold == nil, run.Outcome == report.Failed && connects(run) == 0:
		return fmt.Errorf("%w: %s", ErrUnreachable, run.Reason)
	}
	if why := Undelivered(run, stageSettle, Hold); why != "" {
		r.unmade(why, false)
		return nil
	}
	for i := range run.Thresholds {
		if v := &run.Thresholds[i]; v.NoData && !v.CannotSay {
			return fmt.Errorf("%w: %s", ErrNoData, v.Threshold)
		}
	}
	missed := missedOf(run.Thresholds)
	if why := b.fleetBound(hold, w); why != "" && len(missed) > 0 {
		r.Verdict, r.Limit, r.Why, r.Final = search.Undelivered, ByFleet, why, true
		return nil
	}
	r.Close = b.isClose(hold, w.seen.parts) || float64(r.Offered)*hold.Elapsed.Seconds() < few
	switch rising, untold := b.rising(w), Untold(run, w.trial.Scenario.Thresholds, Preparing()); {
	case len(missed) > 0:
		r.Verdict = search.Missed
		r.Why = strings.Join(missed, "; ")
		if b.own(hold, run.Thresholds) {
			r.Verdict, r.Limit = search.Undelivered, ByGenerator
			r.Why = "operations started late by the generator's own doing, which is most of what was missed: " + r.Why
			return nil
		}
		if r.Limit, r.Class = b.limit(r, run, hold); r.Limit == ByQuota {
			r.Verdict, r.Why = search.Spent, "the day's messages were used up in this trial: "+r.Why
		}
		if why := b.busy(run); why != "" && r.Limit == ByTarget {
			r.unmade(why+": "+r.Why, false)
			for i := range r.Uses {
				r.Uses[i].Short = append(r.Uses[i].Short, report.CauseMachine)
			}
		}
	case run.Outcome == report.Failed:
		r.Verdict, r.Limit, r.Why = search.Missed, ByTarget, run.Reason
	case rising != "":
		r.Verdict, r.Limit, r.Why, r.Close = search.Missed, ByTrend, rising, true
		if limit, class := b.limit(r, run, hold); limit != ByTarget {
			r.Limit, r.Class = limit, class
		}
	case untold != "":
		r.unmade(untold, false)
	default:
		r.Verdict = search.Held
	}
	return nil
}

func connects(run *report.Run) uint64 {
	if run.Totals == nil {
		return 0
	}
	if x := run.Totals.Select(metrics.OpConnect, ""); x != nil {
		return x.Count(metrics.OK)
	}
	return 0
}

// missedOf are the thresholds that were missed, each with what was observed.
func missedOf(all []threshold.Verdict) (missed []string) {
	for i := range all {
		switch v := &all[i]; {
		case v.CannotSay: // Untold tells
		case !v.Pass:
			missed = append(missed, v.Threshold+": "+v.Observed)
		}
	}
	return missed
}

// isClose reports whether chance may have decided: a threshold's figure is nearer to its bound than a tenth, or than it varies over the parts of the
// time in which the load was judged.
func (b *Base) isClose(hold *metrics.Snapshot, parts []*metrics.Snapshot) bool {
	nearest, missed := math.Inf(1), false // in what counts as near
	thresholds, err := b.Thresholds()
	if err != nil {
		return true
	}
	for i := range thresholds {
		t := &thresholds[i]
		if t.Scope.Stage != Hold || !t.ByStage() || !strings.Contains(t.Expr, "<") { // all well is near any bound of what must be well
			continue
		}
		excess, ok := t.Excess(hold)
		if !ok {
			continue
		}
		const least, sure = 0.10, 2 // standard errors
		away := math.Abs(excess) / max(least, sure*standardError(t, parts))
		switch {
		case excess > 0 && !missed:
			nearest, missed = away, true
		case excess > 0: // the clearest of those that were missed decides
			nearest = max(nearest, away)
		case !missed:
			nearest = min(nearest, away)
		}
	}
	return nearest < 1
}

// standardError is by how much the figure of a threshold is uncertain, as a share of its bound, given that of equal parts of the time.
func standardError(t *threshold.Threshold, parts []*metrics.Snapshot) float64 {
	var all []float64
	mean := 0.0
	for _, part := range parts {
		if excess, ok := t.Excess(part); ok {
			all = append(all, excess)
			mean += excess
		}
	}
	n := float64(len(all))
	if n < 2 {
		return 0
	}
	mean /= n
	sum := 0.0
	for _, x := range all {
		sum += (x - mean) * (x - mean)
	}
	return math.Sqrt(sum / (n - 1) / n)
}

// fleetBound says that the devices could not make the load, whatever the target: all their unanswered operations were under way while the target
// took no longer than at a load that held. It is "" when they could.
func (b *Base) fleetBound(hold *metrics.Snapshot, w *watch) string {
	const slower = 1.5
	for _, op := range b.judgedOps() {
		x := hold.Select(op, "")
		if x == nil || x.Dropped[metrics.DropInFlight] == 0 || x.Count(metrics.OK) == 0 || !op.OfDevices() {
			continue
		}
		l := x.Latency(true)
		took := l.Quantile(0.5).Seconds()
		if w.baseline > 0 && took <= max(slower*w.baseline, w.baseline+w.floor) {
			return fmt.Sprintf("%d of %d %s operations were dropped since their device had in_flight of them unanswered, although the target took no longer than at less load, %s; "+
				"give devices a higher in_flight, or take more of them", x.Dropped[metrics.DropInFlight], x.Scheduled(), op, Seconds(took))
		}
	}
	return ""
}

// busy says that a target in this process had too little of the machine, with the devices beside it; "" when it had enough, or is elsewhere.
func (b *Base) busy(run *report.Run) string {
	const most = 0.85
	h := run.Generator
	if h == nil || !b.Fresh {
		return ""
	}
	for i := range run.Agents { // the hubs are beside them
		x := run.Agents[i].Generator
		if x != nil && x.Processors > 0 && x.MachinePeak >= most*float64(x.Processors) {
			return fmt.Sprintf("all programs of this machine, the hub and the agents among them, used %.1f of its %d processors", min(x.MachinePeak, float64(x.Processors)), x.Processors)
		}
	}
	if h.CPUPeak < most*float64(h.Cores) {
		return ""
	}
	return fmt.Sprintf("this process, with the hub in it, used %.1f of %d processors", h.CPUPeak, h.Cores)
}

// own reports whether what was missed is mostly the generator's own lateness: a threshold of a time whose own lag alone comes near the bound.
func (b *Base) own(hold *metrics.Snapshot, verdicts []threshold.Verdict) bool {
	const most = 0.25
	thresholds, err := b.Thresholds()
	if err != nil || len(thresholds) != len(verdicts) {
		return false
	}
	found := false
	for i := range thresholds {
		t := &thresholds[i]
		if !verdicts[i].Missed() {
			continue
		}
		if t.Scope.Stage != Hold || t.OwnLag(hold) < most {
			return false // it would be missed all the same
		}
		found = true
	}
	return found
}

// rising says that the figures got worse all the time; "" when they did not, or not so that it matters.
func (b *Base) rising(w *watch) string {
	say := func(s, before *steady.Series, what string, text func(float64) string) string {
		if s == nil {
			return ""
		}
		const batches = 8
		t := s.After(before, steady.Window).Batches(batches).Of(0)
		if !t.Rises(s.Floor) {
			return ""
		}
		return fmt.Sprintf("%s kept rising while the load was held, by %s", what, text(t.Change))
	}
	if why := say(w.seen.hold, w.seen.settling, "the time that operations take", Seconds); why != "" {
		return why
	}
	return say(w.seen.holdOpen, w.seen.settlingOpen, "the number of operations under way", func(n float64) string { return fmt.Sprintf("%.0f", n) })
}

// limit finds what kept a load from being held.
func (b *Base) limit(r *Record, run *report.Run, hold *metrics.Snapshot) (Limit, string) {
	if b.quota(run.Totals) {
		return ByQuota, "messages a day"
	}
	worst, shed := metrics.Operation(""), uint64(0)
	for i := range hold.Series {
		x := &hold.Series[i]
		if n := x.Count(metrics.Throttled); n > shed {
			worst, shed = x.Operation, n
		}
	}
	if class := ClassOf(worst); class != "" && shed > 0 {
		return ByThrottle, class
	}
	if class := b.shaped(hold); class != "" {
		return ByThrottle, class
	}
	return ByTarget, ""
}

// quota reports whether the day's messages were used up: the service side was told so, or a target that began the day with this run took most of
// what its tier allows, each twin read in as many messages as it has.
func (b *Base) quota(s *metrics.Snapshot) bool {
	if s == nil {
		return false
	}
	if slices.ContainsFunc(s.Errors, func(e metrics.ErrorCount) bool { return e.Reason == iothub.ErrQuotaExceeded.Reason() }) {
		return true
	}
	l, ok := b.Limits()
	if !ok || !b.Fresh {
		return false
	}
	const most, twinBytes = 0.8, 1100
	used := 0.0
	for i := range s.Series {
		x := &s.Series[i]
		each := 1.0
		switch x.Operation {
		case metrics.OpTelemetry, metrics.OpTwinReport, metrics.OpTag, metrics.OpDesiredPatch, metrics.OpQuery:
		case metrics.OpMethod:
			each = 2
		case metrics.OpTwinGet, metrics.OpTwinRead:
			each = float64(l.Messages(twinBytes))
		default:
			each = 0
		}
		used += each * float64(x.Count(metrics.OK))
	}
	return used >= most*float64(l.MessagesPerDay)
}

// shaped is the class of which more was due than its limit, although nothing was shed: a hub delays before it sheds. It is "" when the tier is
// not known.
func (b *Base) shaped(hold *metrics.Snapshot) string {
	limits, ok := b.Limits()
	if !ok {
		return ""
	}
	const near = 0.97 // of the limit: what is delayed ends later than it was due
	due := make(map[string]float64)
	for i := range hold.Series {
		x := &hold.Series[i]
		due[ClassOf(x.Operation)] += float64(x.Scheduled()) / max(hold.Elapsed.Seconds(), 1e-9)
	}
	best, class := near, ""
	for name, allowed := range Allowed(limits) {
		if share := due[name] / allowed; share > best {
			best, class = share, name
		}
	}
	return class
}

// ClassOf is the class of limits that an operation counts in; "" for none.
func ClassOf(op metrics.Operation) string {
	switch op {
	case metrics.OpConnect:
		return "connections"
	case metrics.OpTelemetry:
		return "telemetry"
	case metrics.OpTwinGet, metrics.OpTwinRead:
		return "twin reads"
	case metrics.OpTwinReport, metrics.OpTag, metrics.OpDesiredPatch:
		return "twin updates"
	case metrics.OpQuery:
		return "queries"
	case metrics.OpMethod:
		return "direct methods"
	case metrics.OpJob:
		return "jobs"
	}
	return ""
}

// Limits are what the target's tier allows, as far as anybody says which it is.
func (b *Base) Limits() (tier.Limits, bool) {
	name, units := b.o.Tier, b.o.Units
	if name == "" {
		name, units = b.Scenario.Target.Tier, b.Scenario.Target.Units
	}
	l, err := tier.For(tier.Tier(name), max(1, units))
	return l, err == nil
}

// Allowed are the limits of a tier by class, operations a second.
func Allowed(l tier.Limits) map[string]float64 {
	return map[string]float64{
		"connections": l.Connects.PerSecond, "telemetry": l.Telemetry.PerSecond, "twin reads": l.TwinReads.PerSecond,
		"twin updates": l.TwinWrites.PerSecond, "queries": l.Queries.PerSecond, "direct methods": l.Methods.PerSecond, "jobs": l.Jobs.PerSecond,
	}
}

// Floor is by how many seconds the time of operations may change without meaning anything: a fraction of the tightest bound.
func (b *Base) Floor() float64 {
	const least, part = 0.005, 0.05
	tightest := math.Inf(1)
	for i := range b.Scenario.Thresholds {
		if d, ok := b.Scenario.Thresholds[i].Time(); ok {
			tightest = min(tightest, d.Seconds())
		}
	}
	if math.IsInf(tightest, 1) {
		return 0.05
	}
	return max(least, part*tightest)
}

// OneLine is what an error says, in a line: of errors that came together one after the other.
func OneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Seconds writes a time for people: 12.5 ms, 1.25 s.
func Seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	default:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	}
}
