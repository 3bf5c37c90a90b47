package exercise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// Run runs a trial and reads its record. Its errors are trial.ErrInterrupted, trial.ErrUnreachable and trial.ErrUnkept.
func (b *Base) Run(ctx context.Context, t *Trial, start trial.Start) (Record, error) {
	began := time.Now()
	rec := metrics.NewRecorder(metrics.Options{})
	w := newWatch(rec, b.periodic)
	eng := start(engine.Options{
		Scenario: t.Scenario, Recorder: rec, Observers: []report.Observer{w.observer()}, Preparing: preparing(t),
		AllowSaturated: t.IsStorm(), // no machine lets a fleet go at once: how late it was is held against the time that is measured
	})
	w.leave = eng.Leave
	watching, stop := context.WithCancel(ctx)
	var waits sync.WaitGroup
	waits.Go(func() { w.wait(watching) })
	run := eng.Run(ctx)
	stop()
	waits.Wait()
	r := Record{Asked: t.Asked, Started: began.UTC(), Seconds: time.Since(began).Seconds(), Connected: w.connected, Thresholds: run.Thresholds}
	if kept, ok := eng.(interface{ Dir() string }); ok {
		r.Dir = kept.Dir()
	}
	stage := StageUp
	if t.IsStorm() {
		stage = StageStorm
	}
	r.Uses = trial.Uses(run, stage)
	var err error
	switch why, final := trial.Unmade(eng); {
	case why != nil && context.Cause(ctx) != nil: // whatever it says: it was not given the time
		err = fmt.Errorf("%w: %s", trial.ErrInterrupted, run.Reason)
	case why != nil && run.Outcome != report.Interrupted:
		r.Verdict, r.Limit, r.Why = search.Undelivered, trial.ByGenerator, trial.OneLine(why)
		r.Away = !final
	default:
		err = b.read(&r, run, t)
	}
	if unkept := trial.Kept(eng); unkept != nil && !errors.Is(err, trial.ErrInterrupted) {
		err = unkept
	}
	return r, err
}

// preparing are the stages of a trial of which nothing is asked.
func preparing(t *Trial) []string {
	if t.IsStorm() {
		return []string{stageRefill, StageUp, StageGather}
	}
	return []string{stageRefill, StageGather}
}

// read fills in what came of a run.
func (b *Base) read(r *Record, run *report.Run, t *Trial) error {
	if run.Outcome == report.Interrupted {
		return fmt.Errorf("%w: %s", trial.ErrInterrupted, run.Reason)
	}
	if lost := trial.Lost(run); lost != "" { // before all that follows from it
		r.Verdict, r.Limit, r.Why = search.Undelivered, trial.ByGenerator, lost
		r.Away = true
		return nil
	}
	up, gather, storm := stageOf(run, StageUp), stageOf(run, StageGather), stageOf(run, StageStorm)
	last := gather
	if t.IsStorm() {
		last = storm
	}
	if last == nil || up == nil || run.Totals == nil || connects(run.Totals) == 0 {
		return fmt.Errorf("%w: %s", trial.ErrUnreachable, run.Reason)
	}
	r.Up = (gather.To - up.From).Seconds()
	if x := up.Totals.Select(metrics.OpConnect, ""); x != nil {
		l := x.Latency(false)
		r.P99 = l.Quantile(0.99).Seconds()
	}
	for i := range run.Thresholds {
		if v := &run.Thresholds[i]; v.Missed() {
			r.Missed = append(r.Missed, v.Threshold+": "+v.Observed)
		}
	}
	r.add(up.Totals)
	r.Clean = r.Harm() == 0 && throttled(gather.Totals) == 0
	judged := StageUp
	if t.IsStorm() {
		judged = StageStorm
		r.Throttled, r.Refused, r.Failed = 0, 0, 0
		r.add(storm.Totals)
		b.cut(r, run, up, gather, storm)
	} else {
		r.add(gather.Totals)
	}
	why := trial.Undelivered(run, judged)
	if t.IsStorm() && !matters(r, storm) {
		why = ""
	}
	if why != "" {
		r.Verdict, r.Limit, r.Why = search.Undelivered, trial.ByGenerator, why
		return nil
	}
	if b.ownLateness(run, t, judged) {
		r.Verdict, r.Limit = search.Undelivered, trial.ByGenerator
		r.Why = "operations started late by the generator's own doing, which is most of what was missed: " + strings.Join(r.Missed, "; ")
		return nil
	}
	b.judge(r, run, t, up, gather, storm)
	return nil
}

// stageOf is a stage as it ran, with its account; nil when the run did not come so far.
func stageOf(run *report.Run, name string) *report.Stage {
	for i := range run.Stages {
		if s := &run.Stages[i]; s.Name == name && s.Totals != nil {
			return s
		}
	}
	return nil
}

func connects(s *metrics.Snapshot) uint64 {
	if x := s.Select(metrics.OpConnect, ""); x != nil {
		return x.Count(metrics.OK)
	}
	return 0
}

// add counts what of an account came to grief.
func (r *Record) add(s *metrics.Snapshot) {
	for i := range s.Series {
		x := &s.Series[i]
		if !x.Operation.OfDevices() || x.Operation == metrics.OpDelivery {
			continue
		}
		r.Throttled += x.Count(metrics.Throttled)
		r.Refused += x.Count(metrics.Refused)
		r.Failed += x.Errors() - x.Count(metrics.Refused)
	}
}

func throttled(s *metrics.Snapshot) (n uint64) {
	for i := range s.Series {
		if x := &s.Series[i]; x.Operation.OfDevices() {
			n += x.Count(metrics.Throttled)
		}
	}
	return n
}

// cut reads how the fleet came back.
func (b *Base) cut(r *Record, run *report.Run, up, gather, storm *report.Stage) {
	if x := storm.Totals.Select(metrics.OpConnect, ""); x != nil {
		r.Attempts = float64(x.Started()) / float64(max(1, r.Connected))
	}
	b.bursts(r, up, gather)
	for i := range run.Outages {
		o := &run.Outages[i]
		if o.From < storm.From {
			continue
		}
		r.Lost, r.Returns, r.Every = o.Lost, o.Returns, o.Every.Seconds()
		r.Peak, _ = o.Peak()
		if o.Recovered {
			r.Back99 = (o.To - storm.From).Seconds()
		}
		if o.AllBack > 0 {
			r.BackAll = (o.From + o.AllBack - storm.From).Seconds()
		}
		if o.Total <= r.Connected { // nobody lost a second connection: what went with one went with the cut
			r.Excused = min(r.Failed, lostWith(storm.Totals))
			r.Failed -= r.Excused
		}
		return
	}
}

// bursts finds the limit whose burst was used up most when the connections were cut, of those that connecting asks something of.
func (b *Base) bursts(r *Record, up, gather *report.Stage) {
	limits, ok := b.Limits()
	if !ok || !b.Scenario.Target.Limited() {
		return
	}
	rising, waiting := asked(up.Totals), asked(gather.Totals)
	for class, limit := range trial.Allowed(limits) {
		if rising[class]+waiting[class] == 0 {
			continue
		}
		burst := max(1, limit*b.burst().Seconds())
		left := left(left(burst, burst, limit, rising[class], up.To-up.From), burst, limit, waiting[class], gather.To-gather.From)
		if share := left / burst; r.Burst == 0 || share < r.LeftOver/r.Burst || share == r.LeftOver/r.Burst && class < r.BurstOf {
			r.Burst, r.LeftOver, r.BurstOf = burst, left, class
		}
	}
}

// left is what is left of so much of a burst after so many operations in a time.
func left(tokens, burst, limit, due float64, over time.Duration) float64 {
	return max(0, min(burst, tokens+limit*over.Seconds()-due))
}

// asked is how many operations of devices began, by the limit that they count for.
func asked(s *metrics.Snapshot) map[string]float64 {
	by := make(map[string]float64)
	for i := range s.Series {
		if x := &s.Series[i]; x.Operation.OfDevices() && trial.ClassOf(x.Operation) != "" {
			by[trial.ClassOf(x.Operation)] += float64(x.Started())
		}
	}
	return by
}

// lostWith is how many operations that do not connect ended because their connection did.
func lostWith(s *metrics.Snapshot) (n uint64) {
	for i := range s.Series {
		x := &s.Series[i]
		if !x.Operation.OfDevices() || x.Operation.OfDPS() || x.Operation == metrics.OpConnect || x.Operation == metrics.OpSubscribe {
			continue
		}
		for _, e := range x.Reasons {
			if e.Outcome == metrics.Failed.String() && e.Reason == link.ErrLost.Error() {
				n += e.Count
			}
		}
	}
	return n
}

// matters reports whether devices came back late by the generator's own doing, by what shows in the time that the storm took.
func matters(r *Record, storm *report.Stage) bool {
	const least, share = 0.1, 0.05 // seconds: as often connections are looked at; of the time
	took := r.Back99
	if took == 0 {
		took = (storm.To - storm.From).Seconds()
	}
	x := storm.Totals.Select(metrics.OpConnect, "")
	return x != nil && x.OwnLag.Quantile(0.99).Seconds() > max(least, share*took)
}

// ownLateness reports whether thresholds of times were missed, and no others, whose bound the generator's own lag comes near by itself.
func (b *Base) ownLateness(run *report.Run, t *Trial, stage string) bool {
	const most = 0.25
	found, s := false, stageOf(run, stage)
	if len(t.Scenario.Thresholds) != len(run.Thresholds) || s == nil {
		return false
	}
	for i := range run.Thresholds {
		if !run.Thresholds[i].Missed() {
			continue
		}
		if x := &t.Scenario.Thresholds[i]; x.Scope.Stage != stage || x.OwnLag(s.Totals) < most {
			return false // it would be missed all the same
		}
		found = true
	}
	return found
}

// judge gives a record its verdict.
func (b *Base) judge(r *Record, run *report.Run, t *Trial, up, gather, storm *report.Stage) {
	why := append([]string(nil), r.Missed...)
	say := func(n uint64, format string) {
		if n > 0 {
			why = append(why, fmt.Sprintf(format, human.Count(n)))
		}
	}
	say(r.Throttled, "%s operations were throttled")
	say(r.Refused, "%s operations were refused")
	say(r.Failed, "%s operations failed")
	worst := up.Totals
	switch {
	case storm != nil:
		worst = storm.Totals
		if r.BackAll == 0 {
			why = append(why, "not all devices were back after "+human.Duration(storm.To-storm.From))
		}
	case r.Connected < r.Devices && !b.comeAndGo():
		why = append(why, fmt.Sprintf("%s of %s devices were connected %s after the last was due", human.Count(r.Connected), human.Count(r.Devices), human.Duration(gather.To-gather.From)))
	}
	if len(why) == 0 && run.Outcome == report.Failed {
		why = append(why, run.Reason)
	}
	r.Close = isClose(r, t, worst)
	if len(why) == 0 {
		r.Verdict = search.Held
		if untold := trial.Untold(run, t.Scenario.Thresholds, preparing(t)); untold != "" {
			r.Verdict, r.Limit, r.Why = search.Undelivered, trial.ByGenerator, untold
		}
		return
	}
	r.Verdict, r.Why = search.Missed, strings.Join(why, "; ")
	r.Limit, r.Class = trial.ByTarget, ""
	switch class := b.shed(worst, gather.Totals); {
	case class != "":
		r.Limit, r.Class = trial.ByThrottle, class
	case storm == nil:
		if class := b.short(up, gather); class != "" {
			r.Limit, r.Class = trial.ByThrottle, class
		}
	}
}

// comeAndGo reports whether devices are away at times because they want to be.
func (b *Base) comeAndGo() bool {
	for i := range b.Scenario.Fleet.Groups {
		if g := &b.Scenario.Fleet.Groups[i]; !g.Online.IsZero() || !g.Offline.IsZero() {
			return true
		}
	}
	return false
}

// isClose reports whether chance may have decided: a threshold's figure is near its bound, or next to nothing came to grief and no threshold was
// missed.
func isClose(r *Record, t *Trial, s *metrics.Snapshot) bool {
	const near, few = 0.25, 0.001
	if len(r.Missed) == 0 && r.Harm() > 0 {
		return float64(r.Harm()) <= max(1, few*float64(r.Devices))
	}
	if r.IsStorm() || r.Harm() > 0 {
		return false
	}
	nearest, missed := 1.0, false
	for i := range t.Scenario.Thresholds {
		x := &t.Scenario.Thresholds[i]
		if !x.ByStage() || x.Scope.Window > 0 {
			continue
		}
		switch excess, ok := x.Excess(s); {
		case !ok:
		case excess > 0 && !missed:
			nearest, missed = excess, true
		case excess > 0:
			nearest = max(nearest, excess)
		case !missed:
			nearest = min(nearest, -excess)
		}
	}
	return nearest < near
}

// shed is the class of limits of which most was throttled; "" when nothing was.
func (b *Base) shed(accounts ...*metrics.Snapshot) (class string) {
	by, most := make(map[string]uint64), uint64(0)
	for _, s := range accounts {
		for i := range s.Series {
			x := &s.Series[i]
			if c := trial.ClassOf(x.Operation); c != "" && x.Operation.OfDevices() {
				by[c] += x.Count(metrics.Throttled)
			}
		}
	}
	for c, n := range by {
		if n > most || n == most && n > 0 && c < class {
			class, most = c, n
		}
	}
	return class
}

// short is the class of which most was due beyond what its burst and its rate let pass while the fleet came up: a hub delays before it sheds. It
// is "" when none was, or the tier is not known.
func (b *Base) short(up, gather *report.Stage) (class string) {
	limits, ok := b.Limits()
	if !ok {
		return ""
	}
	due := asked(up.Totals)
	for class, n := range asked(gather.Totals) {
		due[class] += n
	}
	longest := 0.0 // seconds that the last one waits
	for name, allowed := range trial.Allowed(limits) {
		wait := due[name]/allowed - b.burst().Seconds() - (up.To - up.From).Seconds()
		if wait > longest || wait == longest && wait > 0 && name < class { // of those alike the first in the alphabet: connections come first
			longest, class = wait, name
		}
	}
	return class
}
