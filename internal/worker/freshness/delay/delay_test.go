package delay

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/metrics"
)

// at is a time of a test, in milliseconds.
func at(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }

// fleet is the reports of some devices.
type fleet []*Reports

func devices(n int, timeout time.Duration) (fleet, *metrics.Recorder) {
	rec := metrics.NewRecorder(metrics.Options{})
	out := make(fleet, n)
	for i := range out {
		out[i] = New(rec.Series(metrics.OpFreshness, "robots"), timeout)
	}
	return out, rec
}

func (f fleet) sweep(now time.Time) {
	for _, r := range f {
		r.Sweep(now)
	}
}

func (f fleet) pending() (n int) {
	for _, r := range f {
		n += r.Pending()
	}
	return n
}

func (f fleet) close(now time.Time) (n int) {
	for _, r := range f {
		n += r.Close(now)
	}
	return n
}

func TestFreshness(t *testing.T) {
	a, rec := devices(2, time.Second)
	show := func(version int64, ms int) { a[0].Shown(version, at(ms)) }
	a[0].Acked(7, at(0))
	a[0].Acked(8, at(100))
	show(6, 110)           // older than both
	show(8, 300)           // shows both: 300 and 200
	show(9, 350)           // before the device knows:
	a[0].Acked(9, at(400)) // 0
	a[0].Acked(10, at(500))
	a.sweep(at(1499))
	show(10, 1500) // 10 timed out, also when it was not swept before
	a[0].Acked(11, at(1700))
	a[1].Acked(3, at(1700))
	if n := a.pending(); n != 2 {
		t.Errorf("%d wait; want 2", n)
	}
	if n := a.close(at(1800)); n != 2 {
		t.Errorf("%d were not seen; want 2", n)
	}
	x := rec.Snapshot().Find(metrics.OpFreshness, "robots")
	if x.Started() != 6 || x.Count(metrics.OK) != 3 || x.Count(metrics.Timeout) != 1 || x.Count(metrics.Unanswered) != 2 {
		t.Errorf("%d started, %d ok, %d timed out, %d unanswered; want 6, 3, 1, 2", x.Started(), x.Count(metrics.OK), x.Count(metrics.Timeout),
			x.Count(metrics.Unanswered))
	}
	if sum := x.Response[metrics.OK].Sum; sum != 500_000 {
		t.Errorf("freshness sums up to %dµs; want 300ms + 200ms + 0", sum)
	}
}

// Reports against a model that keeps everything and searches it at the end.
func TestFreshnessModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const timeout = 400
		a, rec := devices(3, timeout*time.Millisecond)
		type event struct {
			ms, device int
			version    int64
		}
		var acks, shows []event
		version := make([]int64, 3)
		now := 0
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			now += rapid.IntRange(1, 150).Draw(t, "pause")
			d := rapid.IntRange(0, 2).Draw(t, "device")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				version[d] += int64(rapid.IntRange(1, 2).Draw(t, "step"))
				acks = append(acks, event{now, d, version[d]})
				a[d].Acked(version[d], at(now))
			case 2: // also one that the device does not know yet
				v := int64(rapid.IntRange(0, int(version[d])+2).Draw(t, "shown"))
				shows = append(shows, event{now, d, v})
				a[d].Shown(v, at(now))
			default:
				a.sweep(at(now))
			}
		}
		now++
		unseen := a.close(at(now))
		var ok, late, open, sum int
		for _, k := range acks {
			seen := now
			for _, s := range shows {
				if s.device == k.device && s.version >= k.version {
					seen = min(seen, max(s.ms, k.ms))
				}
			}
			switch { // whenever it was swept
			case seen-k.ms >= timeout:
				late++
			case seen < now:
				ok, sum = ok+1, sum+seen-k.ms
			default:
				open++
			}
		}
		x := rec.Snapshot().Find(metrics.OpFreshness, "robots")
		if int(x.Count(metrics.OK)) != ok || int(x.Count(metrics.Timeout)) != late || int(x.Count(metrics.Unanswered)) != open || unseen != open {
			t.Fatalf("%d ok, %d timed out, %d unanswered; want %d, %d, %d", x.Count(metrics.OK), x.Count(metrics.Timeout), x.Count(metrics.Unanswered), ok, late, open)
		}
		if got := int(x.Response[metrics.OK].Sum); got != sum*1000 {
			t.Fatalf("freshness sums up to %dµs; want %dms", got, sum)
		}
		if got := int(x.Response[metrics.Timeout].Sum); got != late*timeout*1000 {
			t.Fatalf("%d that timed out took %dµs", late, got)
		}
	})
}
