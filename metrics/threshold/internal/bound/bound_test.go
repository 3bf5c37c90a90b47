package bound_test

import (
	"math"
	"testing"

	"github.com/twinfleet/twinfleet/metrics/threshold/internal/bound"
)

// What holds is on the right side of the bound, and so is its excess.
func TestHoldsAndExcess(t *testing.T) {
	f := func(x float64, op string, value float64, holds bool, excess float64) {
		t.Helper()
		b := bound.Bound{Op: op, Value: value}
		if got := b.Holds(x); got != holds {
			t.Errorf("%v %s %v holds: %v; want %v", x, op, value, got, holds)
		}
		if got := b.Excess(x); math.Abs(got-excess) > 1e-9 {
			t.Errorf("%v %s %v: excess %v; want %v", x, op, value, got, excess)
		}
	}
	f(90, "<", 100, true, -0.1)
	f(100, "<", 100, false, 0)
	f(100, "<=", 100, true, 0)
	f(150, "<=", 100, false, 0.5)
	f(90, ">", 100, false, 0.1)
	f(100, ">=", 100, true, 0)
	f(200, ">", 100, true, -1)
	f(100, "==", 100, true, 0)
	f(90, "==", 100, false, 0.1)
	f(100, "!=", 100, false, 1)
	f(90, "!=", 100, true, -0.1)
}

// A number is written with as many digits as it takes to tell on which side it is.
func TestWritten(t *testing.T) {
	f := func(x float64, b bound.Bound, want string) {
		t.Helper()
		if got := b.Written(x, 3, 'g', "%"); got != want {
			t.Errorf("%v against %s %v: %s; want %s", x, b.Op, b.Value, got, want)
		}
	}
	f(12.3456, bound.Bound{Op: "<", Value: 0.5}, "12.3%")
	f(0.10001, bound.Bound{Op: "<=", Value: 0.001}, "0.10001%")
	f(99.99999, bound.Bound{Op: ">", Value: 0.5}, "99.99999%")
	f(100, bound.Bound{Op: ">", Value: 0.5}, "100%")
}
