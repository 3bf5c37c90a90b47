package human_test

import (
	"math"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
)

func TestDuration(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := human.Duration(d); got != want {
			t.Errorf("Duration(%d) = %s; want %s", d, got, want)
		}
	}
	f(0, "0µs")
	f(1500*time.Nanosecond, "1µs")
	f(999*time.Microsecond, "999µs")
	f(time.Millisecond, "1.00ms")
	f(123456*time.Microsecond, "123ms")
	f(time.Second, "1.00s")
	f(59900*time.Millisecond, "59.9s")
	f(time.Minute, "1m00s")
	f(90*time.Minute+5*time.Second, "1h30m05s")
	f(-1250*time.Millisecond, "-1.25s")
	f(math.MinInt64, "-2562047h47m16s")
	f(math.MaxInt64, "2562047h47m16s")
}

func TestCount(t *testing.T) {
	f := func(n int64, want string) {
		t.Helper()
		if got := human.Count(n); got != want {
			t.Errorf("Count(%d) = %s; want %s", n, got, want)
		}
	}
	f(0, "0")
	f(999, "999")
	f(1000, "1,000")
	f(-1234567, "-1,234,567")
	f(math.MinInt64, "-9,223,372,036,854,775,808")
	if got, want := human.Count(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestNumber(t *testing.T) {
	for _, x := range []struct {
		n         int
		one, want string
	}{{1, "device", "1 device"}, {0, "identity", "0 identities"}, {3, "key", "3 keys"}, {2000, "day", "2,000 days"}, {2, "query", "2 queries"}} {
		if got := human.Number(x.n, x.one); got != x.want {
			t.Errorf("%d %s: %s; want %s", x.n, x.one, got, x.want)
		}
	}
}

func TestApart(t *testing.T) {
	for x, want := range map[float64]string{50: "50", 49.99075: "49.99", 50.0004: "50.0004", 60: "60", 49.9999: "49.9999"} {
		if got := human.Apart(x, 50); got != want {
			t.Errorf("Apart(%v, 50) = %s; want %s", x, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	f := func(x float64, want string) {
		t.Helper()
		if got := human.Rate(x); got != want {
			t.Errorf("Rate(%v) = %s; want %s", x, got, want)
		}
	}
	f(0, "0.00/s")
	f(9.999, "10.00/s")
	f(12.34, "12.3/s")
	f(999.4, "999/s")
	f(1666.7, "1,667/s")
}
