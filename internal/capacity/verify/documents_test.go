//go:build !race

package verify_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/capacity/purchase"
	"github.com/twinfleet/twinfleet/internal/capacity/verify"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// planned is a scenario with its plan and purchase.
type planned struct {
	sc       *scenario.Scenario
	plan     *plan.Plan
	purchase *report.Purchase
	market   buy.Market
}

func planOf(t testing.TB, name, text, tierName string, units int) planned {
	t.Helper()
	sc, err := scenario.Decode(name+".yaml", []byte(text), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Make(sc, plan.Options{Tier: tierName, Units: units})
	if err != nil {
		t.Fatal(err)
	}
	market, err := buy.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	found, err := purchase.Of(sc, p, purchase.Options{Market: market, Tier: tierName, Units: units})
	if err != nil {
		t.Fatal(err)
	}
	return planned{sc, p, found, market}
}

// verify runs the verification; in a bubble of synctest it takes no time.
func (x planned) verify(t *testing.T) (r *verify.Result, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err = verify.Run(t.Context(), verify.Options{Scenario: x.sc, Plan: x.plan, Purchase: x.purchase, Market: &x.market, AllowSaturated: true})
	})
	return r, err
}

// documented are the scenarios of docs/plan.md with the answers that were worked out by hand.
func documented(t *testing.T) (scenarios, answers map[string]string) {
	t.Helper()
	b, err := os.ReadFile("../../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	scenarios, answers = make(map[string]string), make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)```yaml\n# ([a-z]+)\\.yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		scenarios[m[1]] = m[2]
	}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z]+) \| [^|]+ \| ([FBS][1-3], \d+ units?) \| ([\d,]+ USD) \|`).FindAllStringSubmatch(string(b), -1) {
		answers[m[1]] = m[2] + ": " + m[3]
	}
	return scenarios, answers
}

// The ten scenarios of docs/plan.md have the answers that were worked out by hand, and the embedded hub bears them out: what is to be
// bought does without throttling, and what is cheaper does not.
func TestTenScenarios(t *testing.T) {
	scenarios, answers := documented(t)
	if len(answers) != 10 || len(scenarios) != 10 {
		t.Fatalf("there are %d scenarios with %d answers; want ten", len(scenarios), len(answers))
	}
	for name, want := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := planOf(t, name, scenarios[name], "", 0)
			best := x.purchase.Best
			if best == nil {
				t.Fatalf("no purchase; want %s", want)
			}
			if got := fmt.Sprintf("%s: %s", best.Name(), x.purchase.Prices.Money(best.PerMonth)); got != want {
				t.Fatalf("the answer is %s; by hand it is %s", got, want)
			}
			r, err := x.verify(t)
			if err != nil {
				t.Fatalf("%v\n%+v", err, r)
			}
			if len(r.Steps) != 2 || !r.Steps[0].Clean || r.Steps[1].Clean {
				t.Errorf("%+v", r.Steps)
			}
			for _, s := range r.Steps {
				t.Logf("%s: %s (%.0f s)", s.Offer.Name(), s.String(), s.Seconds)
			}
		})
	}
}

// A tier that was named is held to what the plan says of it: two units of S1 are cut off.
func TestVerifyWhatWasNamed(t *testing.T) {
	scenarios, _ := documented(t)
	x := planOf(t, "thirty", scenarios["thirty"], "S1", 2)
	r, err := x.verify(t)
	if err != nil || len(r.Steps) != 1 || r.Steps[0].Clean || r.Steps[0].Want || r.Steps[0].Refused == 0 {
		t.Fatalf("%v\n%+v", err, r)
	}
	x = planOf(t, "thirty", scenarios["thirty"], "S1", 11)
	if r, err = x.verify(t); err != nil || len(r.Steps) != 2 || !r.Steps[0].Clean || r.Steps[0].Offer.Units != 11 {
		t.Fatalf("%v\n%+v", err, r)
	}
}

// A purchase that does not hold, and one below that does, are told.
func TestNotBorneOut(t *testing.T) {
	scenarios, _ := documented(t)
	x := planOf(t, "thirty", scenarios["thirty"], "", 0)
	x.purchase.Best.Tier, x.purchase.Best.Units = "S1", 2 // as if the plan were wrong
	x.purchase.Next = nil
	if r, err := x.verify(t); !errors.Is(err, verify.ErrNotBorneOut) || r.Steps[0].Clean || !strings.Contains(err.Error(), "S1, 2 units should carry the load, and did not") {
		t.Errorf("%v\n%+v", err, r)
	}
	x = planOf(t, "few", scenarios["few"], "", 0)
	x.purchase.Next.Tier, x.purchase.Next.Units = "S1", 1
	if r, err := x.verify(t); !errors.Is(err, verify.ErrNotBorneOut) || !r.Steps[1].Clean || !strings.Contains(err.Error(), "S1, 1 unit should not carry the load, and did") {
		t.Errorf("%v\n%+v", err, r)
	}
}

// What a verification leaves out, and what it cannot do.
func TestNothingToVerify(t *testing.T) {
	const none = "fleet: {groups: [{name: a, count: 1000, telemetry: {every: 5ms}}]}\nstages: [{name: s, duration: 10s, devices: 100%}]"
	x := planOf(t, "none", none, "", 0)
	if _, err := x.verify(t); !errors.Is(err, verify.ErrNothing) {
		t.Errorf("%v", err)
	}
	x = planOf(t, "basic", "fleet: {groups: [{name: a, count: 10}]}\nstages: [{name: s, duration: 10s, devices: 100%}]", string(tier.B1), 1)
	if _, err := x.verify(t); !errors.Is(err, verify.ErrNothing) {
		t.Errorf("%v", err)
	}
}

// What was interrupted says nothing.
func TestInterrupted(t *testing.T) {
	scenarios, _ := documented(t)
	x := planOf(t, "few", scenarios["few"], "", 0)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		r, err := verify.Run(ctx, verify.Options{Scenario: x.sc, Plan: x.plan, Purchase: x.purchase, Market: &x.market, AllowSaturated: true})
		if !errors.Is(err, verify.ErrInterrupted) || len(r.Steps) != 1 || r.Steps[0].Clean || r.Steps[0].String() != "it was interrupted, and says nothing" {
			t.Errorf("%v\n%+v", err, r)
		}
	})
}

// What is too near to tell is told, and one that lacks a tenth is run below it.
func TestTooNearToTell(t *testing.T) {
	// 1,391 devices, 30 s online and 10 s off, read 34.8 twins and send 26.1 messages a second: 5.26 m a day. With S1 alone for sale that
	// is 14 units, and 13 lack a hundredth.
	x := planOf(t, "near", "fleet: {groups: [{name: a, count: 1391, session: {online: 20s..40s, offline: 10s}, telemetry: {every: 40s}}]}\n"+
		"stages: [{name: ramp, duration: 40s, devices: 100%}, {name: hold, duration: 5m}]", "", 0)
	only := map[tier.Tier]float64{tier.S1: 25}
	x.market.Prices.PerUnit = only
	var err error
	if x.purchase, err = x.market.Find(&x.plan.Need, buy.Options{}); err != nil {
		t.Fatal(err)
	}
	next, clear := x.purchase.Next, x.purchase.Clear
	if next == nil || clear == nil || clear.Units >= next.Units {
		t.Fatalf("%+v, %+v", next, clear)
	}
	r, err := x.verify(t)
	if err != nil {
		t.Fatalf("%v\n%+v", err, r)
	}
	last := r.Steps[len(r.Steps)-1]
	if last.Clean || len(r.Steps) == 3 && (!r.Steps[1].Near || last.Offer.Units != clear.Units || !strings.Contains(strings.Join(r.Notes, "\n"), next.Name()+" did carry the load")) {
		t.Errorf("%+v", r)
	}
}
