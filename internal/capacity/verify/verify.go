// Package verify runs a scenario on the embedded hub with what is to be bought, and with what is cheaper, and holds the purchase to
// what happens: the first must do without throttling, the second must not.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/engine"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Options of Run.
type Options struct {
	Scenario *scenario.Scenario // required
	Plan     *plan.Plan         // of it; required
	Purchase *report.Purchase   // for it; required
	Market   *buy.Market        // required
	Logger   *slog.Logger       // nil logs nothing
	Version  string             // of the program
	// Tell is told what goes on, one line at a time; nil for nobody.
	Tell func(line string)
	// AllowSaturated takes the figures of a generator that was the bottleneck, too.
	AllowSaturated bool
}

// Errors of Run.
var (
	// ErrNothing is returned when there is no purchase to verify.
	ErrNothing = errors.New("there is nothing to verify")
	// ErrSaturated is returned when the generator did not deliver the load: nothing can be said.
	ErrSaturated = errors.New("the load generator did not deliver the load")
	// ErrInterrupted is returned when the context ended first.
	ErrInterrupted = errors.New("interrupted")
	// ErrNotBorneOut is returned when what happened is not what the plan says.
	ErrNotBorneOut = errors.New("the purchase was not borne out")
)

// Step is one run of a verification.
type Step struct {
	Offer   report.Offer       `json:"offer"`             // that was run
	Clean   bool               `json:"clean"`             // nothing was throttled, and the day's messages lasted
	Want    bool               `json:"want_clean"`        // what the plan says
	Shed    map[string]float64 `json:"shed,omitempty"`    // operations that were throttled, by class
	Refused float64            `json:"refused,omitempty"` // operations that came after the day's messages were used up
	Seconds float64            `json:"seconds"`           // that it took
	Near    bool               `json:"near,omitempty"`    // it was clean although it should not have been, by too little to tell: another run is below it
	Reason  string             `json:"reason,omitempty"`  // why the run itself failed, if it did
}

// String says what happened.
func (s *Step) String() string {
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(s.Shed)) {
		parts = append(parts, fmt.Sprintf("%s of %s throttled", human.Count(int64(s.Shed[class])), strings.ReplaceAll(class, "_", " ")))
	}
	if s.Refused > 0 {
		parts = append(parts, "the day's messages were used up and the fleet was cut off")
	}
	if s.Reason != "" {
		parts = append(parts, s.Reason)
	}
	if s.Clean && s.Reason == "" {
		parts = append(parts, "clean: nothing was throttled, and the day's messages lasted")
	}
	return strings.Join(parts, "; ")
}

// Result is what a verification found.
type Result struct {
	Steps []Step   `json:"steps"`           // as they were run
	Notes []string `json:"notes,omitempty"` // what a reader must know, one line each
}

// Run verifies a purchase.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	offers, err := offers(o.Purchase)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	var below *report.Offer
	for i := range offers {
		if !offers[i].Carries {
			below = &offers[i]
		}
	}
	steady := long(o.Scenario, o.Plan, below, o.limit)
	var failed []string
	for i := 0; i < len(offers); i++ {
		t := derive(o.Scenario, o.Plan, &offers[i], steady, o.limit)
		if i == 0 {
			r.Notes = notes(t, o.Plan)
		}
		o.Tell(fmt.Sprintf("%s: about %s", offers[i].Name(), human.Duration(t.takes)))
		s, err := o.try(ctx, t, &offers[i])
		r.Steps = append(r.Steps, s)
		if err != nil {
			return r, fmt.Errorf("%s: %w", offers[i].Name(), err)
		}
		o.Tell(fmt.Sprintf("%s: %s", offers[i].Name(), s.String()))
		switch clear := o.Purchase.Clear; {
		case s.Want && !s.Clean:
			failed = append(failed, fmt.Sprintf("%s should carry the load, and did not: %s", s.Offer.Name(), s.String()))
		case !s.Want && s.Clean && clear != nil && i == 1 && len(offers) == 2: // what is next is too near to tell
			why := "what is too much for it is less than minutes show: " + offers[i].Why()
			if len(offers[i].Fails) == 0 {
				why = "it does not only if queries find the whole fleet and twins are of 1,100 bytes, and they were less"
			}
			r.Steps[i].Near = true
			r.Notes = append(r.Notes, fmt.Sprintf("%s did carry the load: %s", offers[i].Name(), why))
			offers = append(offers, *clear)
		case !s.Want && s.Clean && len(offers[i].Fails) == 0:
			failed = append(failed, offers[i].Name()+" did carry the load: it does not only if queries find the whole fleet and twins are of 1,100 bytes, and they were less")
		case !s.Want && s.Clean:
			failed = append(failed, fmt.Sprintf("%s should not carry the load, and did: %s", s.Offer.Name(), offers[i].Why()))
		}
	}
	if len(failed) > 0 {
		return r, fmt.Errorf("%w: %s", ErrNotBorneOut, strings.Join(failed, "; "))
	}
	return r, nil
}

// offers are what is run: the one that was named or is best, and the most expensive of those that are cheaper and do not carry the load.
func offers(p *report.Purchase) ([]report.Offer, error) {
	var all []report.Offer
	switch {
	case p.Held != nil && !p.Held.Carries:
		if strings.HasPrefix(p.Held.Why(), "twins: ") {
			return nil, fmt.Errorf("%w: tier %s has no twins", ErrNothing, p.Held.Tier)
		}
		return []report.Offer{*p.Held}, nil
	case p.Held != nil:
		all = append(all, *p.Held)
	case p.Best != nil:
		all = append(all, *p.Best)
	default:
		return nil, fmt.Errorf("%w: no purchase carries the scenario", ErrNothing)
	}
	if p.Next != nil {
		all = append(all, *p.Next)
	}
	return all, nil
}

// limit is what an offer allows of a class.
func (o *Options) limit(x *report.Offer, class string) float64 {
	l, err := o.Market.Limits.For(tier.Tier(x.Tier), x.Units)
	if err != nil {
		return 0
	}
	return buy.Limit(&l, class)
}

// try runs a trial.
func (o *Options) try(ctx context.Context, t *trial, x *report.Offer) (Step, error) {
	rec := metrics.NewRecorder(metrics.Options{})
	eng := engine.New(engine.Options{Scenario: t.sc, Recorder: rec, Logger: o.Logger, Version: o.Version, AllowSaturated: o.AllowSaturated})
	stopped := false // once it has shown that it does not carry the load
	eng.Observe(report.Funcs{
		OnEvent: func(e report.Event) {
			if e.Kind == report.KindStage {
				o.Tell(fmt.Sprintf("%s: stage %s", x.Name(), e.Text))
			}
		},
		OnSample: func(report.Sample) {
			if shed, refused := limits(rec); !x.Carries && !stopped && (len(shed) > 0 || refused > 0) {
				stopped = true
				eng.Stop()
			}
		},
	})
	began := time.Now()
	run := eng.Run(ctx)
	s := Step{Offer: *x, Want: x.Carries, Seconds: time.Since(began).Seconds()}
	s.Shed, s.Refused = limits(rec)
	switch {
	case ctx.Err() != nil:
		s.Reason = "it was interrupted, and says nothing"
		return s, ErrInterrupted
	case run.Outcome == report.Saturated:
		s.Reason = "the generator did not deliver the load: it says nothing"
		return s, fmt.Errorf("%w: %s", ErrSaturated, run.Reason)
	case len(s.Shed) == 0 && s.Refused == 0 && run.Outcome != report.Passed:
		s.Reason = "the run " + string(run.Outcome) + ": " + run.Reason
		return s, fmt.Errorf("%w: %s", ErrNotBorneOut, s.Reason)
	}
	s.Clean = len(s.Shed) == 0 && s.Refused == 0
	return s, nil
}

// limits is what the hub's tier kept from the load: what was shed, by class, and what came after the day's messages were used up.
func limits(rec *metrics.Recorder) (shed map[string]float64, refused float64) {
	for _, f := range rec.Figures() {
		for _, x := range f.Samples {
			switch {
			case f.Name == "twinfleet_hub_quota_refused_total":
				refused += x.Value
			case f.Name == "twinfleet_hub_throttle_rejected_total" && x.Value > 0 && x.Labels[0] != string(tier.ClassRegistry):
				if shed == nil {
					shed = make(map[string]float64)
				}
				shed[x.Labels[0]] = x.Value
			}
		}
	}
	return shed, refused
}

// notes say how a verification differs from a day on the real hub.
func notes(t *trial, p *plan.Plan) []string {
	all := []string{"the embedded hub stands for the real one: it sheds at once what a tier does not allow, which the service delays first"}
	if t.steady > 0 {
		all = append(all, fmt.Sprintf("a day in small: %s stand for the day %s; the messages that are left of the day are cut to as small a share of it, and what may come at once is used up",
			human.Duration(t.steady), p.Steady))
	}
	if n := len(t.sc.Target.Trial.Skips); n > 0 {
		all = append(all, fmt.Sprintf("%s in which nothing changes %s cut to %s each; the hub counts the rest as if it had been", human.Number(n, "stage"),
			map[bool]string{true: "is", false: "are"}[n == 1], human.Duration(calm)))
	}
	if len(t.sc.Stages) > 0 && t.sc.Target.Trial.From != "" {
		all = append(all, "twins are tagged before limits hold, as a hub is set up before its day")
	}
	for _, x := range t.without {
		all = append(all, "left out: "+x)
	}
	return all
}
