// Package reporttest makes histories of runs for the tests of what is made of them.
package reporttest

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
)

// Example is a run of n seconds in which little is the same twice, with everything that a report may tell.
func Example(n int) *report.History {
	const ms = time.Millisecond
	epoch := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	rec := metrics.NewRecorder(metrics.Options{})
	h := &report.History{Whole: true, Run: &report.Run{
		Name: "example", Description: "a run <to> show | reports", Version: "1.2.3", Seed: 42, Target: "embedded hub", Client: "paho", Devices: 3000, Ran: new(int),
		Started: epoch, Ended: epoch.Add(time.Duration(n) * time.Second), Outcome: report.Missed, Reason: "1 of 2 thresholds were missed",
		Machine: report.Machine{OS: "linux", Arch: "amd64", CPUs: 2, Go: "go1.26.0"},
		Stages: []report.Stage{
			{Name: "ramp", To: time.Duration(n) * time.Second / 2},
			{Name: "hold", From: time.Duration(n) * time.Second / 2, To: time.Duration(n) * time.Second},
		},
		Steps: []report.Step{{Stage: "ramp", Text: "registry statistics", Detail: "total 3000", OK: true, Took: 3 * ms}},
		Outages: []report.Outage{{
			From: time.Second, To: 3 * time.Second, Lost: 2400, Total: 2500, Recovered: true, AllBack: 3 * time.Second,
			Returns: []int{200, 1500, 700, 100}, Every: time.Second,
		}},
		Generator: &report.Health{
			Measured: time.Duration(n) * time.Second, Cores: 2, CPUMean: 0.4, CPUPeak: 0.7, Late: 2 * ms, Lag: 3 * ms, GCPeak: 0.02, GCPause: ms,
			MemoryPeak: 290e6, MemoryLimit: 8e9, Descriptors: 6026, MaxDescriptors: 20_000, Ports: 3000, MaxPorts: 28_232,
		},
		Notes:    []string{"something <b>to know</b>"},
		Purchase: Purchase(),
		Waves: []report.Wave{
			{Rollout: "firmware", Group: "robots", Number: 1, Of: 3, Percent: 10, Devices: 300, Patched: 300, Told: 300, Answered: 300, Took: 5 * time.Second},
			{
				Rollout: "firmware", Group: "robots", Number: 2, Of: 3, Percent: 50, Devices: 1200, Patched: 1199, Told: 1000, Answered: 900, Failed: 300,
				Took: 30 * time.Second, Stopped: true,
			},
		},
		Jobs: []report.Job{{
			Name: "retag", Type: "twin", ID: "retag-1", Status: "completed", Devices: 3000, Succeeded: 2999, Failed: 1,
			Took: 4 * time.Second, Error: "the job did not do all its devices: 1 of 3000 failed",
		}},
		ServiceErrors: []report.ServiceError{{Task: "rollout firmware", Code: "429001 ThrottlingException", Count: 1}},
		Freshness: &report.Freshness{
			Sampled: 200, Devices: 3000, Probe: 500 * ms, Tolerance: 4 * time.Second, Unseen: 3, Verified: &report.Verified{Devices: 200, Held: 199, Lost: 1},
			Unchecked: []report.Unchecked{{Query: "by-type", Why: "it does not list every device that it selects"}},
		},
		Rules: []report.Rule{{Selector: "twin_report", Expr: "p(99) < 250ms"}, {Selector: "connect", Expr: "error_rate < 0.1%"}},
	}, Events: []report.Event{{At: time.Second, Kind: "stage", Stage: "ramp", Text: "ramp", Detail: "</script><script>alert(1)</script>", OK: true}}}
	*h.Run.Ran = 2987
	connected := rec.DeviceGauge("robots", "connected")
	rec.DeviceGauge("vehicles", "waiting").Add(13)
	last := rec.Snapshot()
	last.At = epoch
	for second := range n {
		at := epoch.Add(time.Duration(second) * time.Second)
		for i, op := range []metrics.Operation{
			metrics.OpConnect, metrics.OpTwinReport, metrics.OpTelemetry, metrics.OpTwinGet, metrics.OpSubscribe,
			metrics.OpFreshness,
		} {
			s := rec.Series(op, "robots")
			for k := range 20 {
				took := time.Duration(1+i+(second*7+k*k*13)%97) * ms
				op := s.Start(at, at.Add(time.Duration(k)*ms))
				outcome := metrics.OK
				if k == 19 && second%5 == 0 {
					outcome = metrics.Throttled
				}
				op.End(at.Add(took+time.Duration(k)*ms), outcome)
			}
		}
		vehicles := rec.Series(metrics.OpTelemetry, "vehicles")
		vehicles.Start(at, at).End(at.Add(9*ms), metrics.OK)
		if second%4 == 3 {
			vehicles.Start(at, at).EndBecause(at.Add(5*ms), metrics.Failed, "the target closed the connection")
			vehicles.Start(at, at).Unanswered(at.Add(2*time.Second), "")
		}
		rec.Series(metrics.OpTwinReport, "robots").Drop(at, metrics.DropInFlight)
		q := rec.Series(metrics.OpQuery, "redmond")
		q.Start(at, at).End(at.Add(time.Duration(20+second%9)*ms), metrics.OK)
		rec.QueryResult("redmond", 3000-second%3, 30)
		rec.QueryExpectation("redmond", second%3 == 0)
		rec.QueryRows("redmond", metrics.RowOK, 190)
		rec.QueryRows("redmond", metrics.RowStale, second%2)
		rec.QueryRows("redmond", metrics.RowUnjudged, 9)
		connected.Add(1)
		rec.SetStage([]string{"ramp", "hold"}[second*2/n])
		now := rec.Snapshot()
		now.At, now.Elapsed = at.Add(time.Second), time.Duration(second+1)*time.Second
		h.Samples = append(h.Samples, report.Sample{At: now.Elapsed, Window: now.Sub(last)})
		last = now
		if (second+1)*2/n == 1 && h.Run.Stages[0].Totals == nil {
			h.Run.Stages[0].Totals = now
		}
	}
	h.Run.Stages[1].Totals = last.Sub(h.Run.Stages[0].Totals)
	h.Run.Totals = last
	h.Run.Thresholds = []threshold.Verdict{
		{Threshold: "twin_report: p(99) < 250ms", Observed: "p(99) = 116ms", Pass: true},
		{Threshold: "connect: error_rate < 0.1%", Observed: "no data", NoData: true},
	}
	return h
}

// Purchase is what to buy, with everything that it may tell.
func Purchase() *report.Purchase {
	offer := func(tier string, units int, price float64) *report.Offer {
		return &report.Offer{Tier: tier, Units: units, PerMonth: price, Carries: true}
	}
	cut := report.Offer{
		Tier: "S1", Units: 9, PerMonth: 225, CutOff: 77142, CutOffFirst: 77142,
		Fails: []string{"messages: a day counts 4,032,000, 9 units allow 3,600,000; the fleet is cut off after about 21h25m"},
	}
	return &report.Purchase{
		Devices: 1400, Steady: "as in stage hold", Best: offer("S2", 1, 250), BestLeast: offer("S1", 1, 25), Against: *offer("S2", 1, 250), Next: &cut,
		Classes: []report.PurchaseRow{
			{Class: "twin updates", MeanLeast: 46.67, Mean: 46.67, Peak: 70, PeakStage: "ramp", NeededLeast: 46.67, Needed: 46.67, Allowed: 50, Headroom: 0.066, Binds: true},
			{Class: "queries", MeanLeast: 0.1, Mean: 0.3, NeededLeast: 0.1, Needed: 0.3, Allowed: 0.33, Headroom: 0.09},
			{Class: "messages a day", Day: true, MeanLeast: 4_032_000, Mean: 4_032_000, NeededLeast: 4_033_400, Needed: 4_033_400, Allowed: 6_000_000, Headroom: 0.32},
		},
		Tiers: []report.Offer{*offer("S2", 1, 250), *offer("S1", 11, 275), *offer("S3", 1, 2500), cut, {
			Tier: "F1", Units: 1, Trial: true, Fails: []string{"messages: a day counts 4,032,000 of 512 bytes, one unit allows 8,000; the fleet is cut off after about 1 min"},
		}},
		Changes: []report.Change{{Key: "fleet.groups.robots.reported.every", Text: "reports every 45s instead of 30s", Offer: *offer("S1", 7, 175), Saves: 75}},
		SetUp:   []string{"making the identities: 1,400 operations at 1.7/s, about 14m00s"}, Notes: []string{"something | to <know>"},
		Prices: report.PurchasePrices{Currency: "USD", Region: "US", Date: "2026-11", Source: "a list", Limits: "the documentation, 2023-02"},
	}
}

// Well is a run of n seconds in which everything was done, with no more than most have.
func Well(n int) *report.Run {
	run := Example(n).Run
	rec := metrics.NewRecorder(metrics.Options{})
	epoch := run.Started
	half := rec.Snapshot()
	for second := range n {
		if second == n/2 {
			half = rec.Snapshot()
		}
		at := epoch.Add(time.Duration(second) * time.Second)
		for _, op := range []metrics.Operation{
			metrics.OpConnect, metrics.OpSubscribe, metrics.OpTwinGet, metrics.OpTwinReport, metrics.OpTelemetry,
			metrics.OpFreshness,
		} {
			for range 20 {
				rec.Series(op, "robots").Start(at, at).End(at.Add(7*time.Millisecond), metrics.OK)
			}
		}
		for range 20 {
			rec.Series(metrics.OpTelemetry, "vehicles").Start(at, at).End(at.Add(9*time.Millisecond), metrics.OK)
		}
		rec.Series(metrics.OpQuery, "redmond").Start(at, at).End(at.Add(30*time.Millisecond), metrics.OK)
		rec.QueryResult("redmond", 3000, 3)
	}
	rec.DeviceGauge("robots", "connected").Add(2700)
	rec.DeviceGauge("vehicles", "connected").Add(300)
	run.Totals, run.Ran, run.Outcome, run.Reason = rec.Snapshot(), &run.Devices, report.Passed, ""
	run.Stages[0].Totals, run.Stages[1].Totals = half, run.Totals.Sub(half)
	run.Steps, run.Notes, run.Waves, run.Jobs, run.ServiceErrors, run.Freshness, run.Purchase = nil, nil, nil, nil, nil, nil, nil
	return run
}
