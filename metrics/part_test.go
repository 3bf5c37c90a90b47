package metrics_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

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

// Whatever several recorders take, and whenever what they have is handed on: together they are the one that takes it all, over all and in
// each stage, to the last bucket and the last operation under way.
func TestPartsAreTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			all, whole := metrics.NewRecorder(metrics.Options{}), metrics.NewRecorder(metrics.Options{})
			const agents = 3
			var recs [agents]*metrics.Recorder
			var parts [agents]*metrics.Part
			for i := range recs {
				recs[i], parts[i] = metrics.NewRecorder(metrics.Options{}), whole.Join()
			}
			type twice struct{ a, b metrics.Started }
			var open []twice
			for step := range rapid.IntRange(1, 60).Draw(rt, "steps") {
				i := rapid.IntRange(-1, agents-1).Draw(rt, "who") // -1 is the one that they join
				rec := whole
				if i >= 0 {
					rec = recs[i]
				}
				now := time.Now()
				switch rapid.IntRange(0, 7).Draw(rt, "act") {
				case 0:
					name := fmt.Sprint("stage ", step)
					at := now.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "later")) * time.Second)
					for _, r := range append(recs[:], all, whole) {
						r.SetStageAt(name, at)
					}
				case 1:
					d := time.Duration(rapid.IntRange(0, 5000).Draw(rt, "ms")) * time.Millisecond
					time.Sleep(d)
				case 2:
					group, reason := rapid.SampledFrom([]string{"robots", "arms"}).Draw(rt, "group"), rapid.SampledFrom(metrics.DropReasons()).Draw(rt, "reason")
					rec.Series(metrics.OpTelemetry, group).Drop(now, reason)
					all.Series(metrics.OpTelemetry, group).Drop(now, reason)
				case 3:
					state := rapid.SampledFrom([]string{"connected", "backoff"}).Draw(rt, "state")
					rec.DeviceGauge("robots", state).Add(1)
					all.DeviceGauge("robots", state).Add(1)
				case 4:
					if len(open) > 0 {
						x := open[0]
						open = open[1:]
						how := rapid.SampledFrom(metrics.Outcomes()).Draw(rt, "outcome")
						x.a.EndBecause(now, how, "why")
						x.b.EndBecause(now, how, "why")
					}
				case 5:
					if i >= 0 {
						parts[i].Set(carried(t, recs[i].Contribution()))
					}
				default:
					op := rapid.SampledFrom([]metrics.Operation{metrics.OpTwinReport, metrics.OpConnect}).Draw(rt, "op")
					intended := now.Add(-time.Duration(rapid.IntRange(0, 50).Draw(rt, "late")) * time.Millisecond)
					open = append(open, twice{rec.Series(op, "robots").Start(intended, now), all.Series(op, "robots").Start(intended, now)})
				}
			}
			for i, r := range recs {
				parts[i].Set(carried(t, r.Contribution()))
				parts[i].Set(carried(t, r.Contribution())) // the same once more counts nothing twice
			}
			got, want := text(t, append(whole.Stages(), whole.Snapshot())...), text(t, append(all.Stages(), all.Snapshot())...)
			if got != want {
				rt.Fatalf("%s\nwant\n%s", got, want)
			}
		})
	})
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
