// Package bound is the right side of a threshold: a comparison with a value.
package bound

import (
	"math"
	"strconv"
)

// Bound is what a figure must be to its value.
type Bound struct {
	Op    string  // <, <=, >, >=, == or !=
	Value float64 // nanoseconds, a share, a rate per second or a count
}

// Upper reports whether the bound is the most that a value may be.
func (b Bound) Upper() bool { return b.Op == "<" || b.Op == "<=" }

// Holds reports whether a figure meets the bound.
func (b Bound) Holds(x float64) bool {
	switch b.Op {
	case "<":
		return x < b.Value
	case "<=":
		return x <= b.Value
	case ">":
		return x > b.Value
	case ">=":
		return x >= b.Value
	case "!=":
		return x != b.Value
	default:
		return x == b.Value
	}
}

// Excess is how far a value is on the wrong side of the bound, as a share of it; below 0 on the right side.
func (b Bound) Excess(observed float64) float64 {
	past := observed - b.Value
	if b.Op == ">" || b.Op == ">=" {
		past = -past
	}
	switch {
	case b.Op == "==":
		past = math.Abs(past)
	case b.Op == "!=" && past == 0:
		return 1
	case b.Op == "!=":
		past = -math.Abs(past)
	}
	return past / max(b.Value, 1e-9)
}

// Written is a number with as many digits as it takes to tell on which side of the bound it is.
func (b Bound) Written(x float64, digits int, format byte, unit string) string {
	scale := 1.0
	if unit == "%" {
		scale = 100
	}
	for ; ; digits++ {
		text := strconv.FormatFloat(x, format, digits, 64)
		shown, err := strconv.ParseFloat(text, 64)
		rounded := unit == "%" && x != shown && (shown == 0 || shown == 100) // none and all are said of none and all
		if err != nil || digits >= 15 || !rounded && b.Holds(shown/scale) == b.Holds(x/scale) {
			return text + unit
		}
	}
}
