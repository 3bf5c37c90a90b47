// Package pace starts operations of the service side at a rate, each at the time that the rate intends for it.
package pace

import (
	"context"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// endless is longer than any run.
const endless = 10_000 * time.Hour

// Steady is a rate, in operations a second, that never changes.
func Steady(rate float64) schedule.Curve {
	return schedule.Curve{{Duration: endless, From: rate, To: rate}}
}

// ramp is a rate that changes linearly over a length and then stays; of an unknown length it is the last from the start.
func ramp(from, to float64, length time.Duration) schedule.Curve {
	c := Steady(to)
	if length > 0 {
		c = append(schedule.Curve{{Duration: length, From: from, To: to}}, c...)
	}
	return c
}

// Run calls fire when a rate wants the next operation, counted from 1, until fire or ctx says that it is enough.
func Run(ctx context.Context, begin time.Time, curve schedule.Curve, fire func(n int64, intended time.Time) (more bool)) {
	for n := int64(1); ; n++ {
		at, ok := curve.Nth(n)
		if !ok {
			return
		}
		intended := begin.Add(at)
		if ctx.Err() != nil || wait.For(ctx, time.Until(intended)) != nil || !fire(n, intended) {
			return
		}
	}
}

// Order is the numbers below n in an order that follows from a seed and a name.
func Order(seed uint64, name string, n int) []int { return chance.Rand(seed, name, 0).Perm(n) }
