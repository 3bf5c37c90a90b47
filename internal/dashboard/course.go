package dashboard

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics/judge"
)

// keepCourse is how many values of each threshold are kept; then every other one goes.
const keepCourse = 240

// course is how the values of thresholds went, for their small charts. All columns are of one length.
type course struct {
	Times  []float64    `json:"times"`  // seconds since the run began
	Values [][]*float64 `json:"values"` // by threshold; null where there was none
}

func (c *course) add(at time.Duration, states []judge.State) {
	if c.Values == nil {
		c.Values = make([][]*float64, len(states))
	}
	c.Times = append(c.Times, at.Seconds())
	for i := range c.Values {
		var v *float64
		if i < len(states) {
			v = states[i].Value
		}
		c.Values[i] = append(c.Values[i], v)
	}
	if len(c.Times) <= keepCourse {
		return
	}
	c.Times = everyOther(c.Times)
	for i := range c.Values {
		c.Values[i] = everyOther(c.Values[i])
	}
}

// everyOther keeps the last of each two.
func everyOther[T any](all []T) []T {
	kept := make([]T, 0, keepCourse)
	for i := (len(all) + 1) % 2; i < len(all); i += 2 {
		kept = append(kept, all[i])
	}
	return kept
}
