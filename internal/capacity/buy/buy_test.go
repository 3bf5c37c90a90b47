package buy

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

func market(t testing.TB) *Market {
	t.Helper()
	m, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	return &m
}

// needOf is the need of a scenario.
func needOf(t testing.TB, text string) *plan.Need {
	t.Helper()
	sc, err := scenario.Decode("test.yaml", []byte(text), scenario.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p, err := plan.Make(sc, plan.Options{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	return &p.Need
}

func find(t testing.TB, text string, o Options) *report.Purchase {
	t.Helper()
	p, err := market(t).Find(needOf(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// robots is a fleet that does something.
func robots(count int, does, stages, service string) string {
	return fmt.Sprintf("fleet: {groups: [{name: a, count: %d%s}]}\nstages: [%s]\n%s", count, does, stages, service)
}

const slow = "{name: ramp, duration: 20m, devices: 100%}, {name: hold, duration: 1h}"

// What binds, and what carries it: each worked out by hand.
func TestFind(t *testing.T) {
	reports := func(every string) string { return ", reported: {connectivity: {type: wifi}, every: " + every + "}" }
	for _, tt := range []struct {
		name, text, best, binds string
		fails                   []string // a part of each line of the next cheaper
	}{
		{"the day's messages", robots(1400, reports("30s"), slow, ""), "S2, 1 unit", "twin updates", []string{"a day counts 4,032,000, 9 units allow 3,600,000; the fleet is cut off after about 21h"}},
		{"a limit per hub", robots(1000, reports("16s"), slow, ""), "S3, 1 unit", "twin updates", []string{"twin updates: 62.5/s all day as in stage hold; the hub allows, whatever its units, 50/s"}},
		{
			"a steady rate that a burst would cover in the run, and not all day", robots(510, reports("10s"), "{name: ramp, duration: 60s, devices: 100%}, {name: hold, duration: 60s}", ""),
			"S3, 1 unit", "twin updates",
			[]string{"twin updates: 51/s all day"},
		},
		{
			"a ramp: 9,000 reads in 10 s, of 6,000 at once and 100/s", robots(9000, "", "{name: ramp, duration: 10s, devices: 100%}", ""),
			"S3, 1 unit", "twin reads",
			[]string{"twin reads: 9,000 come within 10.0s in stage ramp; the hub allows, whatever its units, 100/s, and 6,000 at once"},
		},
		{
			"two storms that are close: the bucket is not full again",
			robots(5000, "", "{name: ramp, duration: 20m, devices: 100%}, {name: s, duration: 5s, storm: {drop: 100%}}, {name: t, duration: 1m, storm: {drop: 100%, within: 30s}}, {name: u, duration: 1m, storm: {drop: 100%}}", ""),
			"S3, 1 unit", "twin reads",
			[]string{"in stages s to u"},
		},
		{"queries by the unit", robots(10, "", slow, "service: {queries: [{name: q, every: 2s, sql: SELECT * FROM devices}]}"), "S1, 2 units", "queries", []string{"queries: 30/min all day as in stage hold; one unit allows 20/min"}},
		{
			"a rate that rises above a limit for long", robots(100, ", reported: {connectivity: {type: wifi}}",
				"{name: ramp, duration: 1m, devices: 100%}, {name: rise, duration: 20m, report_rate: 0/s..90/s}, {name: hold, duration: 1h}", ""),
			"S3, 1 unit", "twin updates",
			[]string{"in stage rise"},
		},
		{"nothing", robots(1, "", slow, ""), "S1, 1 unit", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := find(t, tt.text, Options{})
			if p.Best == nil || p.Best.Name() != tt.best {
				t.Fatalf("best is %+v; want %s", p.Best, tt.best)
			}
			for _, r := range p.Classes {
				if tt.binds != "" && r.Binds != (r.Class == tt.binds) {
					t.Errorf("%s binds: %v, with %.3f left", r.Class, r.Binds, r.Headroom)
				}
				if r.Headroom < 0 {
					t.Errorf("%s has too little: %+v", r.Class, r)
				}
			}
			if tt.fails == nil {
				if p.Next != nil {
					t.Errorf("%+v is cheaper and does not carry it", p.Next)
				}
				return
			}
			if p.Next == nil || p.Next.PerMonth >= p.Best.PerMonth || p.Next.Carries {
				t.Fatalf("next cheaper: %+v", p.Next)
			}
			for _, want := range tt.fails {
				if !strings.Contains(strings.Join(p.Next.Fails, "\n"), want) {
					t.Errorf("%q; want %q", p.Next.Fails, want)
				}
			}
		})
	}
}

// 1,400 devices that report every 30 seconds are no load for two units of S1: they are cut off after about five hours.
func TestTwoUnitsOfS1(t *testing.T) {
	p := find(t, robots(1400, ", reported: {connectivity: {type: wifi}, every: 30s}", slow, ""), Options{Tier: "s1", Units: 2})
	h := p.Held
	if h == nil || h.Carries || h.CutOff < 4.5*3600 || h.CutOff > 5.5*3600 || h.PerMonth != 50 {
		t.Fatalf("%+v", h)
	}
	if p.Best.Name() != "S2, 1 unit" || p.Against.Name() != "S1, 2 units" {
		t.Errorf("best %s, against %s", p.Best.Name(), p.Against.Name())
	}
	for _, o := range p.Tiers {
		if o.Tier == "S1" && (o.Units != 11 || o.PerMonth != 275 || !o.Carries) {
			t.Errorf("S1: %+v", o)
		}
		if (o.Tier[0] == 'B' || o.Tier == "F1") && o.Carries {
			t.Errorf("%+v", o)
		}
	}
}

// What queries find decides: both answers are told.
func TestWhatQueriesFind(t *testing.T) {
	p := find(t, robots(300, ", reported: {connectivity: {type: wifi}, every: 2m}", slow, "service: {queries: [{name: q, every: 20s, page_size: 1000, sql: SELECT * FROM devices}]}"), Options{})
	if p.Best.Name() != "S1, 2 units" || p.BestLeast == nil || p.BestLeast.Name() != "S1, 1 unit" {
		t.Fatalf("%+v, %+v", p.Best, p.BestLeast)
	}
	if len(p.Next.Fails) > 0 || len(p.Next.Possible) != 1 || !strings.HasPrefix(p.Next.Possible[0], "if queries find the whole fleet, messages: a day counts 565,920") {
		t.Errorf("%+v", p.Next)
	}
}

// F1 counts by 512 bytes, and is not for production: it is named, and never the answer.
func TestF1(t *testing.T) {
	p := find(t, robots(2, ", reported: {connectivity: {type: wifi}, every: 1m}", slow, ""), Options{})
	if p.Best.Name() != "S1, 1 unit" || p.Next != nil || len(p.Notes) != 1 || !strings.HasPrefix(p.Notes[0], "F1 is free and would carry it too") {
		t.Errorf("%+v, %+v, %q", p.Best, p.Next, p.Notes)
	}
	p = find(t, robots(10, ", reported: {connectivity: {type: wifi}, every: 1m}", slow, ""), Options{})
	if p.Next == nil || p.Next.Tier != "F1" || !p.Next.Trial || !strings.Contains(p.Next.Why(), "14,400 of 512 bytes") {
		t.Errorf("%+v", p.Next)
	}
}

// What no hub carries is told, with how many hubs would; queries are asked of each of them.
func TestHubs(t *testing.T) {
	const stages = "{name: ramp, duration: 1h, devices: 100%}, {name: hold, duration: 1h}"
	p := find(t, robots(200_000, ", reported: {connectivity: {type: wifi}, every: 20s}", stages, ""), Options{})
	if p.Best != nil || p.Hubs == nil || p.Hubs.Count != 4 || p.Hubs.Each.Name() != "S3, 10 units" || p.Hubs.PerMonth != 100_000 || p.Against.Name() != "S3, 10 units" {
		t.Errorf("%+v, %+v", p.Best, p.Hubs)
	}
	if len(p.Against.Fails) == 0 || !strings.HasPrefix(p.Against.Fails[0], "twin updates: 10,000/s all day") {
		t.Errorf("%q", p.Against.Fails)
	}
	p = find(t, robots(10, "", stages, "service: {queries: [{name: q, every: 5ms, sql: SELECT * FROM devices}]}"), Options{})
	if p.Best != nil || p.Hubs == nil || p.Hubs.Count != 0 {
		t.Errorf("queries every 5 ms: %+v, %+v", p.Best, p.Hubs)
	}
	n := needOf(t, robots(10, "", stages, ""))
	n.Devices = 1_000_001
	q, err := market(t).Find(n, Options{})
	if err != nil || q.Best != nil || q.Hubs.Count != 2 || !strings.Contains(q.Against.Why(), "a hub has at most 1,000,000, whatever its tier") {
		t.Errorf("a million and one: %+v, %v", q, err)
	}
}

func TestErrors(t *testing.T) {
	m := market(t)
	n := needOf(t, robots(10, "", slow, ""))
	if _, err := m.Find(n, Options{Tier: "S9"}); !errors.Is(err, tier.ErrTier) {
		t.Errorf("S9: %v", err)
	}
	if _, err := m.Find(n, Options{Tier: "S1", Units: 201}); !errors.Is(err, tier.ErrTier) {
		t.Errorf("201 units: %v", err)
	}
	few := *m
	few.Prices.PerUnit = map[tier.Tier]float64{tier.S2: 1, tier.B1: 1}
	if _, err := few.Find(n, Options{Tier: "S1"}); !errors.Is(err, ErrNotSold) {
		t.Errorf("not sold: %v", err)
	}
	if p, err := few.Find(n, Options{}); err != nil || p.Best.Name() != "S2, 1 unit" {
		t.Errorf("%+v, %v", p, err)
	}
	few.Prices.PerUnit = map[tier.Tier]float64{tier.B1: 1}
	if _, err := few.Find(n, Options{}); !errors.Is(err, ErrNotSold) {
		t.Errorf("no tier with twins is sold: %v", err)
	}
}

// random is a need that any fleet may have.
func random(t *rapid.T) *plan.Need {
	rate := rapid.Float64Range(0, 3000)
	n := &plan.Need{Devices: rapid.IntRange(1, 1_100_000).Draw(t, "devices"), Burst: rapid.SampledFrom([]float64{1, 30, 60, 120}).Draw(t, "burst")}
	stages := rapid.IntRange(1, 4).Draw(t, "stages")
	for i := range stages {
		n.Stages = append(n.Stages, plan.StageNeed{Name: fmt.Sprint("s", i), Seconds: float64(rapid.IntRange(0, 4000).Draw(t, "seconds"))})
	}
	scale := rapid.SampledFrom([]float64{0.001, 0.01, 0.1, 1}).Draw(t, "scale")
	for _, name := range []string{plan.ClassConnections, plan.ClassTelemetry, plan.ClassReads, plan.ClassUpdates, plan.ClassQueries, plan.ClassMethods, plan.ClassJobs} {
		if rapid.IntRange(0, 2).Draw(t, "leave out "+name) == 0 {
			continue
		}
		c := plan.Class{Class: name, SteadyLeast: scale * rate.Draw(t, "steady")}
		c.Steady = c.SteadyLeast * rapid.Float64Range(1, 3).Draw(t, "more")
		for i := range stages {
			b := plan.Burst{MeanLeast: scale * rate.Draw(t, "mean"), Seconds: float64(rapid.IntRange(1, 60).Draw(t, "for")), Rises: rapid.Bool().Draw(t, "rises")}
			b.Mean = b.MeanLeast * rapid.Float64Range(1, 3).Draw(t, "more")
			b.PeakLeast, b.Peak = b.MeanLeast*2, b.Mean*2
			c.Stages = append(c.Stages, plan.Ask{Stage: i, Mean: b.Mean, MeanLeast: b.MeanLeast, Peak: b.Peak, Bursts: []plan.Burst{b}})
		}
		n.Classes = append(n.Classes, c)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "metered") {
		for _, stage := range []int{plan.SteadyDay, i % stages} {
			count := scale * rapid.Float64Range(0, 1e8).Draw(t, "count")
			n.Metered = append(n.Metered, plan.Metered{
				Stage: stage, Count: count, Bytes: rapid.IntRange(0, 20_000).Draw(t, "bytes"), Finds: rapid.Bool().Draw(t, "finds"), Calls: count,
			})
		}
	}
	return n
}

// carried asks of every tier and number of units, one by one, whether all reasons against it are none.
func carried(m *Market, n *plan.Need, yield func(report.Offer)) {
	l := newLoad(n)
	for i := range m.Limits.Tiers {
		m.each(&m.Limits.Tiers[i], func(p purchase) bool {
			yield(m.offer(l, p))
			return true
		})
	}
}

// The cheapest that is found is the cheapest there is: of all tiers with all numbers of units. What carries a load does so with more
// units. What is next cheaper does not carry it.
func TestCheapestIsCheapest(t *testing.T) {
	m := market(t)
	rapid.Check(t, func(rt *rapid.T) {
		n := random(rt)
		best, last := math.Inf(1), make(map[string]bool)
		carried(m, n, func(o report.Offer) {
			if last[o.Tier] && !o.Carries {
				rt.Errorf("%s does not carry what one unit less does: %v %v", o.Name(), o.Fails, o.Possible)
			}
			last[o.Tier] = o.Carries
			if o.Carries && !o.Trial {
				best = min(best, o.PerMonth)
			}
		})
		p, err := m.Find(n, Options{})
		if err != nil {
			rt.Fatal(err)
		}
		switch {
		case p.Best == nil && !math.IsInf(best, 1):
			rt.Errorf("none was found; there is one for %v", best)
		case p.Best != nil && p.Best.PerMonth != best:
			rt.Errorf("%s for %v was found; there is one for %v", p.Best.Name(), p.Best.PerMonth, best)
		}
		if x := p.Next; x != nil && (x.Carries || x.PerMonth >= best || x.Why() == "") {
			rt.Errorf("next cheaper: %+v", x)
		}
		if p.Best != nil && p.BestLeast != nil && p.BestLeast.PerMonth > p.Best.PerMonth {
			rt.Errorf("%v if queries find nothing, %v if they find all", p.BestLeast.PerMonth, p.Best.PerMonth)
		}
	})
}

// The limit that a class needs is that of a bucket: one that lets so much pass serves every second of the load, and one that lets a
// little less pass does not. Stages are played second by second.
func TestNeededIsWhatABucketNeeds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := random(rt)
		for i := range n.Stages { // what comes within a second is taken to come at once
			n.Stages[i].Seconds = max(2, n.Stages[i].Seconds)
		}
		for i := range n.Classes {
			c := &n.Classes[i]
			c.Steady, c.SteadyLeast = 0, 0
			for k := range c.Stages { // loads that come evenly: their seconds are known
				b := &c.Stages[k].Bursts[0]
				b.Peak, b.PeakLeast, b.Rises, b.Seconds = b.Mean, b.MeanLeast, false, seconds(n, k)
			}
			need, _ := required(n, c, true)
			served := func(limit float64) bool {
				tokens := limit * n.Burst
				for k, a := range c.Stages {
					tokens = min(limit*n.Burst, tokens+(limit-a.Mean)*seconds(n, k))
					if tokens < -1e-6*max(1, a.Mean*seconds(n, k)) {
						return false
					}
				}
				return true
			}
			if need > 0 && !served(need*1.000001) {
				rt.Errorf("%s: %v is not enough", c.Class, need)
			}
			if need > 0.001 && served(need*0.99) {
				rt.Errorf("%s: less than %v is enough", c.Class, need)
			}
		}
	})
}

// More devices never make a purchase cheaper.
func TestMoreDevicesAreNeverCheaper(t *testing.T) {
	m := market(t)
	rapid.Check(t, func(rt *rapid.T) {
		every, sync := rapid.IntRange(5, 300).Draw(rt, "every"), rapid.Bool().Draw(rt, "sync")
		text := func(devices int) string {
			return robots(devices, fmt.Sprintf(", reported: {connectivity: {type: wifi}, every: %ds, sync: %t}, telemetry: {every: 45s}", every, sync),
				"{name: ramp, duration: 2m, devices: 100%}, {name: storm, duration: 2m, storm: {drop: 50%, within: 10s}}, {name: hold, duration: 10m}",
				"service: {queries: [{name: q, every: 30s, sql: SELECT * FROM devices}]}")
		}
		few := rapid.IntRange(1, 3000).Draw(rt, "devices")
		more := few + rapid.IntRange(1, 3000).Draw(rt, "more")
		a, okA := m.Cheapest(needOf(t, text(few)))
		b, okB := m.Cheapest(needOf(t, text(more)))
		if !okA && okB || okA && okB && b.PerMonth < a.PerMonth {
			rt.Errorf("%d devices: %v %+v; %d: %v %+v", few, okA, a, more, okB, b)
		}
	})
}

// A price list that has no tier for production is what is lacking, not a number of hubs; one that lacks the tier that would do says so.
func TestShortPriceLists(t *testing.T) {
	m := market(t)
	twins, plain := needOf(t, robots(1200, ", reported: {connectivity: {type: wifi}, every: 20s}", slow, "")), &plan.Need{Devices: 10, Burst: 60}
	for _, x := range []struct {
		sold       []tier.Tier
		need       *plan.Need
		want, note string
	}{
		{[]tier.Tier{tier.F1}, twins, "one with twins for production", ""},
		{[]tier.Tier{tier.F1, tier.B1}, twins, "one with twins for production", ""},
		{[]tier.Tier{tier.F1}, plain, "one for production, B1 to B3 or S1 to S3", ""},
		{[]tier.Tier{tier.B1}, plain, "", ""},
		{[]tier.Tier{tier.S1}, twins, "", "S3, 1 unit would carry it: the price list does not have it"},
		{tier.All(), twins, "", ""},
	} {
		few := *m
		few.Prices.PerUnit = make(map[tier.Tier]float64)
		for _, name := range x.sold {
			few.Prices.PerUnit[name] = 1
		}
		p, err := few.Find(x.need, Options{})
		if x.want != "" && (!errors.Is(err, ErrNotSold) || !strings.Contains(err.Error(), x.want)) || x.want == "" && err != nil {
			t.Errorf("%v: %v; want %q", x.sold, err, x.want)
		}
		if err == nil && strings.Contains(strings.Join(p.Notes, "\n"), "the price list does not have it") != (x.note != "") {
			t.Errorf("%v: %q; want %q", x.sold, p.Notes, x.note)
		}
	}
}

// A fleet is split among as many hubs as it takes.
func TestManyHubs(t *testing.T) {
	n := &plan.Need{Devices: 10_000_000, Burst: 60, Stages: []plan.StageNeed{{Name: "s", Seconds: 60}}, Classes: []plan.Class{
		{Class: plan.ClassUpdates, SteadyLeast: 3e7, Steady: 3e7},
	}}
	p, err := market(t).Find(n, Options{})
	if err != nil || p.Hubs == nil || p.Hubs.Count != 12_000 {
		t.Errorf("%+v, %v", p.Hubs, err)
	}
}

// A reason says what is too much: of a day that asks for nothing, the stages before it; of a rate, the digits that tell it from the limit.
func TestReasonsShowWhy(t *testing.T) {
	m := market(t)
	n := needOf(t, robots(9000, "", slow, ""))
	x, err := m.Find(n, Options{Tier: "F1"})
	if err != nil || x.Held == nil {
		t.Fatal(err)
	}
	want := "messages: the stages of the run count 27,000 of 512 bytes, and a day that goes on 0, one unit allows 8,000; the fleet is cut off after about"
	if why := strings.Join(x.Held.Fails, "\n"); !strings.Contains(why, want) {
		t.Errorf("%s; want %s", why, want)
	}
	for needed, want := range map[float64]string{50.01: "50.01/s", 50.0000004: "50.0000004/s", 50.06: "50.1/s", 60: "60/s"} {
		if got := beyond(needed, 50); got != want {
			t.Errorf("%g of 50: %s; want %s", needed, got, want)
		}
	}
	if got := beyond(20.001/60, 20.0/60); got != "20.001/min" {
		t.Errorf("20.001 a minute of 20: %s", got)
	}
}
