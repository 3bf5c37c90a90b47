package change

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// mostStorms bounds the storms whose knobs are turned.
const mostStorms = 10

// stormKnobs are over how long connections are cut, and how many.
func stormKnobs(sc *scenario.Scenario) (all []knob) {
	for i := range sc.Stages {
		t := &sc.Stages[i]
		if t.Storm == nil || t.Storm.Drop <= 0 || len(all) >= 2*mostStorms {
			continue
		}
		key := "stages." + t.Name + ".storm"
		storm := func(set func(*scenario.Storm)) func() (*scenario.Scenario, error) {
			return with(sc, func(c *scenario.Scenario) {
				s := *c.Stages[i].Storm
				set(&s)
				c.Stages[i].Storm = &s
			})
		}
		// Cut at once they come back within a second; that is what a longer time is a multiple of.
		var within, drop knob
		for _, d := range spreads(t.Storm.Within) {
			if t.Duration > 0 && d > t.Duration {
				break
			}
			within = append(within, turn{
				key: key + ".within", text: fmt.Sprintf("connections cut in stage %s over %s instead of %s", t.Name, timing.Text(d), over(t.Storm.Within)),
				size: size(d, t.Storm.Within), apply: storm(func(s *scenario.Storm) { s.Within = d }),
			})
		}
		last := math.Round(100 * t.Storm.Drop)
		for _, share := range []float64{0.9, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1} {
			percent := math.Floor(100 * t.Storm.Drop * share)
			if percent < 1 || percent == last {
				continue
			}
			last = percent
			drop = append(drop, turn{
				key: key + ".drop", text: fmt.Sprintf("%.0f %% of the connections cut in stage %s instead of %.4g %%", percent, t.Name, 100*t.Storm.Drop),
				size: 100 * t.Storm.Drop / percent, apply: storm(func(s *scenario.Storm) { s.Drop = percent / 100 }),
			})
		}
		all = append(all, within, drop)
	}
	return all
}

// spreads are times that a person would spread over what comes over d, or at once when d is 0.
func spreads(d time.Duration) []time.Duration {
	if d > 0 {
		return ladder(d)
	}
	return []time.Duration{
		10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	}
}

// size of a change of a time, of which nothing is taken for half a minute: so long is the shortest that is spread over.
func size(to, from time.Duration) float64 {
	return max(1, to.Seconds()/max(from, 30*time.Second).Seconds())
}

func over(d time.Duration) string {
	if d == 0 {
		return "at once"
	}
	return timing.Text(d)
}

// sessionKnobs are how long devices stay and stay away, and how long their tokens live.
func sessionKnobs(sc *scenario.Scenario) (all []knob) {
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		key, whose := "fleet.groups."+g.Name, ""
		if len(sc.Fleet.Groups) > 1 {
			whose = " of " + g.Name
		}
		if !g.Online.IsZero() {
			longer := func(name, what string, now chance.Distribution, set func(*scenario.Group, chance.Distribution)) {
				var k knob
				for _, factor := range []float64{1.5, 2, 3, 4, 6, 10} {
					d := now.Times(factor)
					k = append(k, turn{
						key: key + ".session." + name, text: fmt.Sprintf("devices%s %s for %s instead of %s", whose, what, d, now), size: factor,
						apply: with(sc, func(c *scenario.Scenario) { set(&c.Fleet.Groups[i], d) }),
					})
				}
				all = append(all, k)
			}
			longer("online", "online", g.Online, func(g *scenario.Group, d chance.Distribution) { g.Online = d })
			longer("offline", "offline", g.Offline, func(g *scenario.Group, d chance.Distribution) { g.Offline = d })
		}
		if t := g.Tokens; t.Life > 0 {
			tokens := func(name, text string, from time.Duration, steps []time.Duration, set func(*scenario.Tokens, time.Duration)) {
				var k knob
				for _, d := range steps {
					to := t
					if set(&to, d); to.Margin+to.Spread >= to.Life {
						continue // such a scenario is refused
					}
					k = append(k, turn{
						key: key + ".tokens." + name, text: fmt.Sprintf(text, whose, timing.Text(d), over(from)), size: size(d, from),
						apply: with(sc, func(c *scenario.Scenario) { c.Fleet.Groups[i].Tokens = to }),
					})
				}
				all = append(all, k)
			}
			tokens("life", "tokens%s that live for %s instead of %s", t.Life, ladder(t.Life), func(t *scenario.Tokens, d time.Duration) { t.Life = d })
			tokens("spread", "renewals of tokens%s spread over %s more instead of %s", t.Spread, spreads(t.Spread), func(t *scenario.Tokens, d time.Duration) { t.Spread = d })
		}
	}
	return slices.DeleteFunc(all, func(k knob) bool { return len(k) == 0 })
}
