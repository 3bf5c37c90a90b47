package fleet

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/iothub"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/roster"
)

// still is a target that nobody connects to.
type still struct{}

func (still) Link(int, string) link.Options { return link.Options{} }
func (still) Protocol() protocol.Protocol   { return iothub.Protocol{} }
func (still) Connect(context.Context, link.Options) (link.Conn, error) {
	return nil, errors.ErrUnsupported
}

// Fleets that are parts of one may learn a bit late that devices come or go, each by as much as it happens: for as long some turns are dealt by what
// each knows. Then each turn is that of one fleet once more, and that goes on.
func TestTurnsAreDealtOnAfterLateNews(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts, rate := rapid.IntRange(2, 5).Draw(t, "parts"), rapid.Float64Range(5, 400).Draw(t, "rate")
		start := time.Unix(1_700_000_000, 0)
		type news struct {
			at   time.Duration
			goal int
			over time.Duration
		}
		all := []news{{0, rapid.IntRange(1, 60).Draw(t, "goal"), time.Second}}
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			over := time.Duration(rapid.IntRange(0, 3000).Draw(t, "over")) * time.Millisecond
			all = append(all, news{all[len(all)-1].at + 4*time.Second, rapid.IntRange(0, 60).Draw(t, "goal"), over})
		}
		var turns []time.Time
		for at := range (schedule.Curve{{Duration: all[len(all)-1].at + 6*time.Second, From: rate, To: rate}}).Even() {
			turns = append(turns, start.Add(at))
		}
		owners := make([]int, len(turns))
		for part := range parts {
			f, err := New(Config{
				Target: still{}, Driver: still{}, Recorder: metrics.NewRecorder(metrics.Options{}), Start: start,
				Groups: []Group{{Name: "robots", IDs: slices.Repeat([]string{"x"}, 60), Telemetry: Telemetry{Rated: true}}},
				Mine:   func(index int) bool { return index%parts == part },
			})
			if err != nil {
				t.Fatal(err)
			}
			late, told := time.Duration(rapid.IntRange(-10, 900).Draw(t, "late"))*time.Millisecond, 0
			d := f.dealerOf(metrics.OpTelemetry)
			for i, at := range turns {
				for told < len(all) && (told == 0 || at.Sub(start) >= all[told].at+late) {
					x := all[told]
					r := f.replay()
					r.until(start.Add(x.at))
					r.stop()
					f.active = r.roster.Clone()
					curve := schedule.Curve{{Duration: x.over, From: float64(f.active.Active()), To: float64(x.goal)}}
					f.plan(start.Add(x.at), roster.Toward(f.active.Active(), curve.Steps(f.active.Active())), x.over)
					told++
				}
				if _, mine := d.next(at); mine {
					owners[i]++
				}
			}
			d.stop()
			f.courses.end()
		}
		for i, n := range owners {
			in := turns[i].Sub(start)
			unsettled := slices.ContainsFunc(all[1:], func(x news) bool { return in >= x.at-time.Second && in < x.at+time.Second })
			if n != 1 && !unsettled {
				t.Fatalf("turn %d, at %s, is that of %d fleets", i, in, n)
			}
		}
	})
}
