package engine

import (
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/verdict/standing"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
)

// doubts are why stages were not delivered as asked, so far; those of earlier stages are not looked at anew.
type doubts struct {
	stage string
	now   string // of the stage
	first string // of the stages before it
}

// of is why the load was not the one that was asked for; empty when it was.
func (d *doubts) of(stage string, doubt func(stage string) string) string {
	if stage != d.stage {
		if d.first == "" {
			d.first = d.now
		}
		d.stage, d.now = stage, ""
	}
	if stage != "" {
		d.now = doubt(stage)
	}
	if d.first != "" {
		return d.first
	}
	return d.now
}

// stand is how the run stands with the figures now.
func (m *monitor) stand(now *metrics.Snapshot) *report.Standing {
	e := standing.Evidence{Scenario: m.sc, Figures: now, Thresholds: m.bounds.States(now), AllowSaturated: m.allowsSaturated()}
	stage, _ := m.ledger.Stage()
	e.Started, e.ByHand, e.Agents = m.ledger.Began(), m.controls.acts(), m.agents()
	e.Doubt, e.Unled, e.Suspicion = m.doubts.of(stage, m.generator.Doubt), m.unledText(), m.contradictions.suspected()
	e.Began, e.Running, e.Into = m.ledger.Stages()
	s := standing.Of(&e)
	if last := m.standing.Load(); last != nil && e.Began > 0 && !e.Running { // after the last stage the devices are stopped
		s.Connected, s.Wanted = last.Connected, last.Wanted
	}
	s.Rollouts, s.Agents = m.backend.Rollouts(), e.Agents
	return s
}

// maxTurns is how often it is told of one threshold that it begins to be missed.
const maxTurns = 3

// turns are the thresholds that are missed, and how often it was told of each.
type turns struct {
	missed []bool
	told   []int
}

// of is the news: the thresholds that have begun to be missed, and those that hold once more.
func (t *turns) of(states []judge.State) (news []report.Event) {
	if t.missed == nil {
		t.missed, t.told = make([]bool, len(states)), make([]int, len(states))
	}
	for i := range states {
		s := &states[i]
		missed := s.Missed() && !s.Pending
		if missed == t.missed[i] || t.told[i] == maxTurns {
			continue
		}
		e := report.Event{Kind: report.KindThreshold, Text: "a threshold is missed", Detail: s.Threshold + ": " + s.Observed}
		if !missed {
			e.Text, e.OK = "a threshold holds once more", s.Pass
			if s.CannotSay {
				e.Text = "of a threshold nothing can be said any more"
			}
		}
		if t.missed[i] = missed; missed {
			if t.told[i]++; t.told[i] == maxTurns {
				e.Text += ", as often before; of its further turns nothing is told"
			}
		}
		news = append(news, e)
	}
	return news
}

// ending is how a run ended, and when.
type ending struct {
	verdict string // the outcome; of a run that has not passed for a guess alone that nothing can be said
	at      time.Time
}

// finish says what the thresholds came to in the end, and the verdict. What they compare is of the same figures: identities are
// removed after the last sample.
func (e *Engine) finish(r *report.Run, bounds *judge.Judge) {
	s := report.Standing{Fleet: e.sc.Devices()}
	if last := e.standing.Load(); last != nil {
		s = *last
	}
	s.Thresholds, s.Left = bounds.States(r.Totals), 0
	for i, v := range r.Thresholds {
		s.Thresholds[i] = judge.State{Verdict: v, Over: true, Value: s.Thresholds[i].Value}
	}
	e.standing.Store(&s)
	verdict := string(r.Outcome)
	if r.Guessed() {
		verdict = string(report.CannotSay)
	}
	e.final.Store(&ending{verdict, r.Ended}) // the record is its owner's from here on
}

// figures are how the run stands, for /metrics. All have the run as a label, so that what was scraped of it is found when it is over and
// another run is where it was.
func (e *Engine) figures() []metrics.Figure {
	s := e.standing.Load()
	if s == nil {
		s = &report.Standing{Outlook: report.Starting, Fleet: e.sc.Devices()}
	}
	now := string(s.Outlook)
	o := e.final.Load()
	if o != nil {
		now = o.verdict
	}
	verdict := metrics.Figure{
		Name: "twinfleet_run_verdict", Labels: []string{"verdict"},
		Help: "The verdict of the run: 1 for the one that holds now, 0 for the others. While it runs starting, holding, cannot_say, missing or failing; " +
			"then passed, missed, saturated, interrupted or failed, or cannot_say where it has not passed for a guess alone.",
	}
	for _, name := range verdicts() {
		verdict.Samples = append(verdict.Samples, metrics.Sample{Labels: []string{name}, Value: truth(name == now)})
	}
	met, observed, bound := thresholdFigures(e.sc.Thresholds, s.Thresholds)
	all := []metrics.Figure{
		verdict, met, observed, bound, rolloutFigure(s.Rollouts),
		metrics.One("twinfleet_run_devices_connected", "Devices that are connected; once the last stage is over, those that were then.", float64(s.Connected)),
		metrics.One("twinfleet_run_devices_wanted", "Devices that should be connected: without those not started, or offline by their own will.", float64(s.Wanted)),
		metrics.One("twinfleet_run_devices_planned", "Devices of the scenario.", float64(s.Fleet)),
		metrics.One("twinfleet_run_left_seconds", "Time until the last stage is over, as it is planned; 0 when that is not known.", s.Left.Seconds()),
		metrics.One("twinfleet_run_as_asked", "Whether the generator made the load that was asked for, so far: 1, or 0 when the figures speak of it and not of the target.",
			truth(s.Doubt == "" && now != string(report.Saturated))),
	}
	if began := e.ledger.Began(); !began.IsZero() {
		all = append(all, metrics.One("twinfleet_run_started_timestamp_seconds", "When the run began, as Unix time.", unix(began)))
	}
	if o != nil {
		all = append(all, metrics.One("twinfleet_run_ended_timestamp_seconds", "When the run ended, as Unix time; absent while it goes on.", unix(o.at)))
	}
	run := e.rec.Run().Run
	for i := range all {
		f := &all[i]
		f.Labels = append([]string{"run"}, f.Labels...)
		for j := range f.Samples {
			f.Samples[j].Labels = append([]string{run}, f.Samples[j].Labels...)
		}
	}
	return all
}

// truth is 1 for what is so, else 0.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func unix(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// rolloutFigure is how far the waves of rollouts are.
func rolloutFigure(waves []report.Wave) metrics.Figure {
	devices := metrics.Figure{
		Name: "twinfleet_rollout_devices", Labels: []string{"rollout", "wave", "state"},
		Help: "Devices of a wave of a rollout: planned, and of them patched (the twin is written), told, answered, and failed once the wave is over.",
	}
	for _, p := range waves {
		for _, x := range []struct {
			state string
			n     int
		}{{"planned", p.Devices}, {"patched", p.Patched}, {"told", p.Told}, {"answered", p.Answered}, {"failed", p.Failed}} {
			devices.Samples = append(devices.Samples, metrics.Sample{Labels: []string{p.Rollout, strconv.Itoa(p.Number), x.state}, Value: float64(x.n)})
		}
	}
	return devices
}

// thresholdFigures are whether thresholds are met, what they compare, and with what. One that is written twice is shown once.
func thresholdFigures(rules []threshold.Threshold, states []judge.State) (met, observed, bound metrics.Figure) {
	met = metrics.Figure{
		Name: "twinfleet_threshold_met", Labels: []string{"threshold"},
		Help: "Whether a threshold holds: 1 met, 0 missed, -1 when nothing can be said, or not yet.",
	}
	observed = metrics.Figure{
		Name: "twinfleet_threshold_observed", Labels: []string{"threshold", "unit"},
		Help: "What a threshold compares, so far, of windows that of the last one, in its unit: seconds, ratio, per_second or number. Absent while there is no data.",
	}
	bound = metrics.Figure{
		Name: "twinfleet_threshold_bound", Labels: []string{"threshold", "unit"}, Help: "What a threshold compares with, in its unit.",
	}
	seen := make(map[string]bool)
	for i := range min(len(rules), len(states)) {
		rule, s := rules[i], &states[i]
		name := rule.String()
		if seen[name] {
			continue
		}
		seen[name] = true
		value := 1.0
		switch {
		case s.Pending || s.CannotSay:
			value = -1
		case !s.Pass:
			value = 0
		}
		met.Samples = append(met.Samples, metrics.Sample{Labels: []string{name}, Value: value})
		_, edge := rule.Bound()
		bound.Samples = append(bound.Samples, metrics.Sample{Labels: []string{name, rule.Unit()}, Value: edge})
		if s.Value != nil {
			observed.Samples = append(observed.Samples, metrics.Sample{Labels: []string{name, rule.Unit()}, Value: *s.Value})
		}
	}
	return met, observed, bound
}

// verdicts are all values of the label of twinfleet_run_verdict.
func verdicts() []string {
	return []string{
		string(report.Starting), string(report.Holding), string(report.CannotSay), string(report.Missing), string(report.Failing),
		string(report.Passed), string(report.Missed), string(report.Saturated), string(report.Interrupted), string(report.Failed),
	}
}
