package throttle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/hub/throttle/bucket"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func armed(t *testing.T, name tier.Tier, units int, s bucket.Shape) *Limiter {
	t.Helper()
	limits, err := tier.For(name, units)
	if err != nil {
		t.Fatal(err)
	}
	l := New(limits, s)
	l.Arm()
	return l
}

func stat(t *testing.T, l *Limiter, class tier.Class) Stat {
	t.Helper()
	for _, s := range l.Stats() {
		if s.Class == class {
			return s
		}
	}
	t.Fatalf("no class %s", class)
	return Stat{}
}

// What is per hub and what is per unit (iot-hub-devguide-quotas-throttling).
func TestRatesOfTiers(t *testing.T) {
	for _, tt := range []struct {
		tier   tier.Tier
		units  int
		rates  map[tier.Class]float64
		perHub []tier.Class
	}{
		{"S1", 1, map[tier.Class]float64{
			tier.ClassConfiguration: 20.0 / 60,
			tier.ClassRegistry:      100.0 / 60, tier.ClassConnect: 100, tier.ClassTelemetry: 100, tier.ClassQuery: 20.0 / 60, tier.ClassTwinRead: 100,
			tier.ClassTwinUpdate: 50,
			tier.ClassC2DReceive: 1000.0 / 60, tier.ClassFileUpload: 100.0 / 60,
			tier.ClassC2D: 100.0 / 60, tier.ClassMethod: 40, tier.ClassJob: 100.0 / 60, tier.ClassJobDevice: 10,
		}, []tier.Class{tier.ClassTwinRead, tier.ClassTwinUpdate, tier.ClassJobDevice}},
		{"S1", 10, map[tier.Class]float64{
			tier.ClassConfiguration: 200.0 / 60,
			tier.ClassRegistry:      1000.0 / 60, tier.ClassConnect: 120, tier.ClassTelemetry: 120, tier.ClassQuery: 200.0 / 60, tier.ClassTwinRead: 100,
			tier.ClassTwinUpdate: 50,
			tier.ClassC2DReceive: 10000.0 / 60, tier.ClassFileUpload: 1000.0 / 60,
			tier.ClassC2D: 1000.0 / 60, tier.ClassMethod: 400, tier.ClassJob: 1000.0 / 60, tier.ClassJobDevice: 10,
		}, []tier.Class{tier.ClassTwinRead, tier.ClassTwinUpdate, tier.ClassJobDevice}},
		{"S2", 20, map[tier.Class]float64{
			tier.ClassConfiguration: 400.0 / 60,
			tier.ClassRegistry:      2000.0 / 60, tier.ClassConnect: 2400, tier.ClassTelemetry: 2400, tier.ClassQuery: 400.0 / 60, tier.ClassTwinRead: 200,
			tier.ClassTwinUpdate: 100,
			tier.ClassC2DReceive: 20000.0 / 60, tier.ClassFileUpload: 2000.0 / 60,
			tier.ClassC2D: 2000.0 / 60, tier.ClassMethod: 2400, tier.ClassJob: 2000.0 / 60, tier.ClassJobDevice: 20,
		}, nil},
		{"S3", 1, map[tier.Class]float64{
			tier.ClassConfiguration: 20.0 / 60,
			tier.ClassRegistry:      5000.0 / 60, tier.ClassConnect: 6000, tier.ClassTelemetry: 6000, tier.ClassQuery: 1000.0 / 60, tier.ClassTwinRead: 500,
			tier.ClassTwinUpdate: 250,
			tier.ClassC2DReceive: 50000.0 / 60, tier.ClassFileUpload: 5000.0 / 60,
			tier.ClassC2D: 5000.0 / 60, tier.ClassMethod: 6144, tier.ClassJob: 5000.0 / 60, tier.ClassJobDevice: 50,
		}, nil},
	} {
		l := armed(t, tt.tier, tt.units, bucket.Shape{})
		stats := l.Stats()
		if len(stats) != len(tt.rates) || len(stats) != len(tier.Classes())-2 { // services share the classes of twins
			t.Errorf("%s: %d classes; want %d", tt.tier, len(stats), len(tt.rates))
		}
		for _, s := range stats {
			if math.Abs(s.Rate-tt.rates[s.Class]) > 1e-9 {
				t.Errorf("%s x%d: %s = %v/s; want %v", tt.tier, tt.units, s.Class, s.Rate, tt.rates[s.Class])
			}
			perHub := false
			for _, c := range tt.perHub {
				perHub = perHub || c == s.Class
			}
			if s.PerHub != perHub {
				t.Errorf("%s x%d: %s PerHub = %v; want %v", tt.tier, tt.units, s.Class, s.PerHub, perHub)
			}
		}
	}
}

func TestAdmitWaitsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := armed(t, "S1", 1, bucket.Shape{Burst: time.Second}) // 50 twin updates a second
		began := time.Now()
		for range 50 {
			if err := l.Admit(t.Context(), tier.ClassTwinUpdate, 1); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the burst took %v; want no time", took)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []int
		for i := range 5 {
			wg.Go(func() {
				if err := l.Admit(t.Context(), tier.ClassTwinUpdate, 1); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			})
			synctest.Wait() // the next one comes after this one waits
		}
		if s := stat(t, l, tier.ClassTwinUpdate); s.Waiting != 5 || s.Tokens != -5 || s.Wait != 120*time.Millisecond || s.Admitted != 50 {
			t.Errorf("while five wait: %+v; want 5 waiting, -5 tokens, the next to wait 120ms", s)
		}
		wg.Wait()
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("five more took %v; want 100ms at 50 a second", took)
		}
		if fmt.Sprint(order) != "[0 1 2 3 4]" {
			t.Errorf("served in the order %v; want first come, first served", order)
		}
		if s := stat(t, l, tier.ClassTwinUpdate); s.Admitted != 55 || s.Delayed != 5 || s.Rejected != 0 || s.Waiting != 0 {
			t.Errorf("afterwards: %+v; want 55 admitted, 5 of them delayed", s)
		}
	})
}

func TestAdmitSheds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := armed(t, "S1", 1, bucket.Shape{Burst: time.Second, Backlog: -1})
		for range 100 {
			if err := l.Admit(t.Context(), tier.ClassTwinRead, 1); err != nil {
				t.Fatal(err)
			}
		}
		err := l.Admit(t.Context(), tier.ClassTwinRead, 1)
		if !errors.Is(err, iothub.ErrThrottled) || !iothub.Throttled(err) {
			t.Errorf("Admit = %v; want 429001", err)
		}
		if s := stat(t, l, tier.ClassTwinRead); s.Rejected != 1 || s.Admitted != 100 {
			t.Errorf("%+v; want 100 admitted, 1 rejected", s)
		}
		// Another class has a limit of its own.
		if err := l.Admit(t.Context(), tier.ClassTwinUpdate, 1); err != nil {
			t.Errorf("a twin update after too many reads: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
		if err := l.Admit(t.Context(), tier.ClassTwinRead, 1); err != nil {
			t.Errorf("after a hundredth of a second: %v", err)
		}
		// The real service's own words.
		for range 2 {
			err = l.Admit(t.Context(), tier.ClassRegistry, 100)
		}
		if e := iothub.AsError(err); e.Message != "The request has been throttled. Wait 10 seconds and try again. Operation type: CRUD" {
			t.Errorf("message = %q", e.Message)
		}
	})
}

func TestAdmitHonoursTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := armed(t, "S1", 1, bucket.Shape{Burst: time.Second})
		if err := l.Admit(t.Context(), tier.ClassJobDevice, 10); err != nil {
			t.Fatal(err)
		}
		gone := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
		began := time.Now()
		if err := l.Admit(ctx, tier.ClassJobDevice, 5); !errors.Is(err, gone) {
			t.Errorf("Admit = %v; want the cause of the context", err)
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("gave up after %v; want 50ms", took)
		}
		// Its place is free once more: 0.5 tokens have come meanwhile.
		s := stat(t, l, tier.ClassJobDevice)
		if math.Abs(s.Tokens-0.5) > 1e-9 || s.Waiting != 0 || s.Admitted != 1 || s.Delayed != 0 {
			t.Errorf("after giving up: %+v; want half a token, nobody waiting", s)
		}
	})
}

func TestQueueIsNeverShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := armed(t, "S1", 1, bucket.Shape{Burst: time.Second, Backlog: -1})
		began := time.Now()
		for range 1010 {
			if err := l.Queue(t.Context(), tier.ClassJobDevice, 1); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); (took - 100*time.Second).Abs() > time.Millisecond {
			t.Errorf("1,010 devices at 10 a second took %v; want 100s", took)
		}
	})
}

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock begins at midnight UTC of 2000-01-01.
		time.Sleep(20 * time.Hour)
		l := armed(t, "F1", 1, bucket.Shape{})
		const allowed = 8000
		l.Meter(512 * (allowed - 2)) // half a KB a message on F1
		for range 2 {
			if err := l.Admit(t.Context(), tier.ClassTelemetry, 1); err != nil {
				t.Fatal(err)
			}
			l.Meter(0) // an empty message counts as one
		}
		if used, limit := l.Quota(); used != allowed || limit != allowed {
			t.Errorf("Quota() = %d, %d; want %d, %d", used, limit, allowed, allowed)
		}
		for _, tt := range []struct {
			class tier.Class
			want  error
		}{
			{tier.ClassRegistry, nil},
			{tier.ClassJob, nil},
			{tier.ClassConnect, iothub.ErrQuotaExceeded},
			{tier.ClassTelemetry, iothub.ErrQuotaExceeded},
			{tier.ClassQuery, iothub.ErrQuotaExceeded},
			{tier.ClassTwinRead, iothub.ErrQuotaExceeded},
			{tier.ClassTwinUpdate, iothub.ErrQuotaExceeded},
			{tier.ClassC2D, iothub.ErrQuotaExceeded},
			{tier.ClassMethod, iothub.ErrQuotaExceeded},
			{tier.ClassJobDevice, iothub.ErrQuotaExceeded},
		} {
			if err := l.Admit(t.Context(), tt.class, 1); !errors.Is(err, tt.want) {
				t.Errorf("quota used up: %s = %v; want %v", tt.class, err, tt.want)
			}
		}
		time.Sleep(4*time.Hour - time.Nanosecond)
		if err := l.Admit(t.Context(), tier.ClassTelemetry, 1); !errors.Is(err, iothub.ErrQuotaExceeded) {
			t.Errorf("just before midnight: %v; want the quota to be used up", err)
		}
		time.Sleep(time.Nanosecond)
		if used, _ := l.Quota(); used != 0 {
			t.Errorf("at midnight UTC %d are used; want 0", used)
		}
		if err := l.Admit(t.Context(), tier.ClassTelemetry, 1); err != nil {
			t.Errorf("after midnight: %v", err)
		}
	})
}

func TestMeterCountsStartedBlocks(t *testing.T) {
	for _, tt := range []struct {
		tier  tier.Tier
		bytes int
		want  int64
	}{{"F1", 0, 1}, {"F1", 512, 1}, {"F1", 513, 2}, {"S1", 4096, 1}, {"S1", 4097, 2}, {"S3", 10 << 10, 3}} {
		l := armed(t, tt.tier, 1, bucket.Shape{})
		l.Meter(tt.bytes)
		if used, _ := l.Quota(); used != tt.want {
			t.Errorf("%s: %d bytes count %d messages; want %d", tt.tier, tt.bytes, used, tt.want)
		}
	}
}

// Services take from the limits of devices, or have as much of their own.
func TestSplitTwins(t *testing.T) {
	for _, split := range []bool{false, true} {
		l := armed(t, "S1", 1, bucket.Shape{Burst: time.Second, Backlog: -1, SplitTwins: split})
		if err := l.Admit(t.Context(), tier.ClassTwinRead, 100); err != nil {
			t.Fatal(err)
		}
		if err := l.Admit(t.Context(), tier.ClassServiceTwinRead, 50); (err == nil) != split {
			t.Errorf("split %t: %v", split, err)
		}
		if got := len(l.Stats()); (got == len(tier.Classes())) != split {
			t.Errorf("split %t: %d classes in the statistics", split, got)
		}
	}
}

func TestBasicTiersHaveNoTwins(t *testing.T) {
	for _, name := range []tier.Tier{"B1", "B2", "B3"} {
		l := armed(t, name, 1, bucket.Shape{})
		for _, class := range tier.Classes() {
			want := error(nil)
			if strings.Contains("twin_read twin_update c2d c2d_receive method job job_device configuration service_twin_read service_twin_update", string(class)) {
				want = iothub.ErrNotInTier
			}
			if err := l.Admit(t.Context(), class, 1); !errors.Is(err, want) {
				t.Errorf("%s: %s = %v; want %v", name, class, err, want)
			}
		}
	}
}

func TestNothingCountsBeforeArm(t *testing.T) {
	limits, err := tier.For("S1", 1)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := New(limits, bucket.Shape{Burst: time.Second})
		began := time.Now()
		for range 1000 {
			if err := l.Admit(t.Context(), tier.ClassRegistry, 100); err != nil {
				t.Fatal(err)
			}
			l.Meter(1 << 20)
		}
		used, _ := l.Quota()
		if took := time.Since(began); took != 0 || used != 0 {
			t.Errorf("setting up took %v and cost %d messages; want nothing", took, used)
		}
		l.Arm()
		if s := stat(t, l, tier.ClassRegistry); s.Admitted != 0 || s.Tokens != 100.0/60 {
			t.Errorf("when armed: %+v; want a full bucket", s)
		}
	})
}

func TestWithoutATierNothingIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *Limiter
		l.Arm()
		began := time.Now()
		for range 10_000 {
			if err := l.Admit(t.Context(), tier.ClassTwinRead, 1000); err != nil {
				t.Fatal(err)
			}
			if err := l.Queue(t.Context(), tier.ClassJobDevice, 1000); err != nil {
				t.Fatal(err)
			}
			l.Meter(1 << 30)
		}
		used, allowed := l.Quota()
		if took := time.Since(began); took != 0 || used != 0 || allowed != 0 || l.Stats() != nil {
			t.Errorf("took %v, quota %d of %d, stats %v; want nothing at all", took, used, allowed, l.Stats())
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	l := armed(t, "S3", 10, bucket.Shape{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				for _, class := range tier.Classes() {
					if err := l.Admit(t.Context(), class, 0.001); err != nil {
						t.Error(err)
						return
					}
					l.Meter(1)
				}
				l.Stats()
			}
		})
	}
	wg.Wait()
	if used, _ := l.Quota(); used != 8*200*int64(len(tier.Classes())) {
		t.Errorf("%d messages counted; want %d", used, 8*200*len(tier.Classes()))
	}
}

func BenchmarkAdmit(b *testing.B) {
	limits, err := tier.For("S3", 10)
	if err != nil {
		b.Fatal(err)
	}
	l := New(limits, bucket.Shape{})
	l.Arm()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = l.Admit(b.Context(), tier.ClassTelemetry, 1e-9)
			l.Meter(100)
		}
	})
}
