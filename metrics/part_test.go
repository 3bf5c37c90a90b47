package metrics_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/linediff"
	"github.com/twinfleet/twinfleet/metrics"
)

// carried is a contribution as it arrives elsewhere.
func carried(t interface{ Fatal(...any) }, c *metrics.Contribution) *metrics.Contribution {
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out := new(metrics.Contribution)
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// text is numbers as a record has them, with the ages of what is under way.
func text(t interface{ Fatal(...any) }, all ...*metrics.Snapshot) string {
	out := ""
	for _, s := range all {
		one, err := json.MarshalIndent(s, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out += string(one)
		for i := range s.Series {
			x := &s.Series[i]
			out += fmt.Sprintf("\n%s %s open %d, for a second %d", x.Operation, x.Group, x.OpenFor(0), x.OpenFor(time.Second))
		}
	}
	return out
}

// act is something that happens to recorders.
type act struct {
	what, who   int           // 3 is the recorder that the others join
	later, late time.Duration // from now, and ago
	group       string
	state       string
	dropped     string
	outcome     metrics.Outcome
	operation   metrics.Operation
}

func acts() *rapid.Generator[act] {
	return rapid.Custom(func(t *rapid.T) act {
		ms := func(most int, name string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Millisecond
		}
		return act{
			what: rapid.IntRange(0, 7).Draw(t, "what"), who: rapid.IntRange(0, 3).Draw(t, "who"), later: ms(3000, "later"), late: ms(50, "late"),
			group: rapid.SampledFrom([]string{"robots", "arms"}).Draw(t, "group"), state: rapid.SampledFrom([]string{"connected", "backoff"}).Draw(t, "state"),
			dropped: rapid.SampledFrom(metrics.DropReasons()).Draw(t, "dropped"), outcome: rapid.SampledFrom(metrics.Outcomes()).Draw(t, "outcome"),
			operation: rapid.SampledFrom([]metrics.Operation{metrics.OpTwinReport, metrics.OpConnect}).Draw(t, "operation"),
		}
	})
}

// Whatever several recorders take, and whenever what they have is handed on: together they are the one that takes it all, over all and in
// each stage, to the last bucket and the last operation under way.
func TestPartsAreTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(acts(), 1, 60).Draw(rt, "script")
		differ := ""
		synctest.Test(t, func(t *testing.T) { differ = playParts(t, script) })
		if differ != "" {
			rt.Fatal(differ)
		}
	})
}

// playParts plays a script and says how three recorders and the one that they join differ from one that has all.
func playParts(t *testing.T, script []act) string {
	all := metrics.NewRecorder(metrics.Options{})
	recs, parts := make([]*metrics.Recorder, 4), make([]*metrics.Part, 3)
	for i := range recs {
		recs[i] = metrics.NewRecorder(metrics.Options{})
	}
	whole := recs[len(parts)]
	for i := range parts {
		parts[i] = whole.Join()
	}
	time.Sleep(time.Second) // nothing is intended before there are recorders
	type twice struct{ a, b metrics.Started }
	var open []twice
	for step, x := range script {
		now, rec := time.Now(), recs[x.who]
		switch x.what {
		case 0:
			for _, r := range append(recs, all) {
				r.SetStageAt(fmt.Sprint("stage ", step), now.Add(x.later))
			}
		case 1:
			time.Sleep(x.later)
		case 2:
			rec.Series(metrics.OpTelemetry, x.group).Drop(now, x.dropped)
			all.Series(metrics.OpTelemetry, x.group).Drop(now, x.dropped)
		case 3:
			rec.DeviceGauge(x.group, x.state).Add(1)
			all.DeviceGauge(x.group, x.state).Add(1)
		case 4:
			if len(open) > 0 {
				open[0].a.EndBecause(now, x.outcome, "why")
				open[0].b.EndBecause(now, x.outcome, "why")
				open = open[1:]
			}
		case 5:
			if rec != whole {
				parts[x.who].Set(carried(t, rec.Contribution()))
			}
		default:
			intended := now.Add(-x.late)
			open = append(open, twice{rec.Series(x.operation, x.group).Start(intended, now), all.Series(x.operation, x.group).Start(intended, now)})
		}
	}
	time.Sleep(time.Second) // no stage ends just now
	for i, p := range parts {
		p.Set(carried(t, recs[i].Contribution()))
		p.Set(carried(t, recs[i].Contribution())) // the same once more counts nothing twice
	}
	for _, p := range parts {
		var sum metrics.PartTotals
		s := p.Snapshot()
		for i := range s.Series {
			x := &s.Series[i]
			sum.Scheduled, sum.Started, sum.Dropped = sum.Scheduled+x.Scheduled(), sum.Started+x.Started(), sum.Dropped+x.DroppedTotal()
			sum.OK, sum.Failed = sum.OK+x.Count(metrics.OK), sum.Failed+x.Ended()-x.Count(metrics.OK)
		}
		if got := p.Totals(); got != sum {
			return fmt.Sprintf("totals %+v, want %+v", got, sum)
		}
	}
	got, want := text(t, append(whole.Stages(), whole.Snapshot())...), text(t, append(all.Stages(), all.Snapshot())...)
	if got == want {
		return ""
	}
	return strings.Join(linediff.Lines(want, got), "\n")
}

// When the other recorder is gone, what it had under way has no answer, and the account adds up: at the time of its end, with what it had
// counted before. When it comes back after all, that is undone.
func TestPartEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole, agent := metrics.NewRecorder(metrics.Options{}), metrics.NewRecorder(metrics.Options{})
		part := whole.Join()
		whole.SetStage("hold")
		agent.SetStage("hold")
		agent.DeviceGauge("robots", "connected").Add(5)
		s := agent.Series(metrics.OpTwinReport, "robots")
		s.Start(time.Now(), time.Now()).End(time.Now().Add(time.Second), metrics.OK)
		s.Start(time.Now(), time.Now())
		time.Sleep(2 * time.Second)
		s.Start(time.Now(), time.Now())
		part.Set(carried(t, agent.Contribution()))
		time.Sleep(3 * time.Second)
		part.End(time.Now(), "the agent was lost")
		for _, now := range []*metrics.Snapshot{whole.Snapshot(), whole.StageSnapshot("hold")} {
			x := now.Find(metrics.OpTwinReport, "robots")
			lost := x.Response[metrics.Unanswered]
			if x.InFlight() != 0 || x.OpenFor(0) != 0 || x.Scheduled() != 3 || x.Count(metrics.OK) != 1 || lost.Count != 2 {
				t.Errorf("scheduled %d, ok %d, unanswered %d, open %d and %d", x.Scheduled(), x.Count(metrics.OK), lost.Count, x.InFlight(), x.OpenFor(0))
			}
			if took := lost.Quantile(1).Round(time.Second); took != 5*time.Second {
				t.Errorf("the oldest had no answer for %s; want 5 s", took)
			}
			if e := x.Reasons; len(e) != 1 || e[0].Reason != "the agent was lost" || e[0].Count != 2 {
				t.Errorf("reasons %v", e)
			}
			if now.DevicesIn("connected") != 0 {
				t.Error("devices of an agent that is gone are counted as connected")
			}
		}
		part.Set(carried(t, agent.Contribution()))
		if now := whole.Snapshot(); now.Find(metrics.OpTwinReport, "robots").InFlight() != 2 || now.DevicesIn("connected") != 5 {
			t.Error("it is back, and what it has is not counted")
		}
	})
}
