//go:build !race

package verify_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever a scenario asks for, the embedded hub bears out what is to be bought for it. The numbers are those of scenarios that were
// once hard: loads that come in waves, what is too much by a hair, queries that find less than they might.
func TestRandomScenarios(t *testing.T) {
	for _, seed := range []int{7, 46, 95, 109, 110, 112, 203, 317} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			pick := func(xs ...string) string { return xs[r.IntN(len(xs))] }
			b := &strings.Builder{}
			fmt.Fprintf(b, "seed: %d\nfleet: {groups: [", seed)
			for i := range 1 + r.IntN(2) {
				if i > 0 {
					b.WriteString(", ")
				}
				fmt.Fprintf(b, "{name: g%d, count: %d", i, 5+r.IntN(500))
				if r.IntN(4) > 0 {
					fmt.Fprintf(b, ", reported: {connectivity: {type: wifi}, every: %s, sync: %v}", pick("3s", "7s", "20s", "~30s", "1m", "3m"), r.IntN(5) == 0)
				}
				if r.IntN(2) > 0 {
					fmt.Fprintf(b, ", telemetry: {every: %s, sync: %v}", pick("1s", "5s", "10s..20s", "1m"), r.IntN(5) == 0)
				}
				if r.IntN(4) == 0 {
					b.WriteString(", session: {online: 20s..40s, offline: 10s}")
				}
				b.WriteString("}")
			}
			fmt.Fprintf(b, "]}\nstages:\n  - {name: ramp, duration: %s, devices: 100%%}\n  - {name: hold, duration: %s}\n", pick("1s", "20s", "1m"), pick("10s", "1m", "5m"))
			if r.IntN(2) == 0 {
				fmt.Fprintf(b, "  - {name: storm, duration: 30s, storm: {drop: %d%%, within: %s}}\n", 10+r.IntN(90), pick("0s", "5s"))
			}
			if r.IntN(3) == 0 {
				b.WriteString("  - {name: down, duration: 10s, devices: 10%}\n")
			}
			if r.IntN(2) == 0 {
				fmt.Fprintf(b, "service: {tags: {g0: {a: 1}}, queries: [{name: q, every: %s, page_size: %s, sql: SELECT * FROM devices}]", pick("1s", "5s", "30s"), pick("50", "1000"))
				if r.IntN(2) == 0 {
					fmt.Fprintf(b, ", methods: [{name: m, group: g0, method: x, rate: %s}]", pick("1/s", "10/s"))
				}
				b.WriteString("}\n")
			}
			x := planOf(t, "x", b.String(), "", 0)
			res, err := x.verify(t)
			if err != nil {
				t.Errorf("%v\n%s", err, b)
				for _, s := range res.Steps {
					t.Logf("%s want %v: %s (%.0f s)", s.Offer.Name(), s.Want, s.String(), s.Seconds)
				}
				for _, c := range x.purchase.Classes {
					t.Logf("%+v", c)
				}
			}
		})
	}
}
