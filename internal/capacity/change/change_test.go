package change

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// changesOf are the changes of a scenario as a person reads them, with the key of each.
func changesOf(t testing.TB, text string, most int) (*report.Offer, []string) {
	t.Helper()
	decode := func(devices int) (*scenario.Scenario, error) {
		return scenario.Decode("test.yaml", []byte(text), scenario.Options{Devices: devices})
	}
	sc, err := decode(0)
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf("%+v", sc)
	p, err := plan.Make(sc, plan.Options{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := buy.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	var best *report.Offer
	if x, ok := m.Cheapest(&p.Need); ok {
		best = &x
	}
	var lines []string
	changes, tried := Find(sc, best, Options{Market: &m, Resize: decode, Most: most})
	if len(changes) > tried.Changes || len(tried.Keys) > tried.Changes || tried.Changes > 0 && len(tried.Keys) == 0 {
		t.Errorf("%d changes of %+v", len(changes), tried)
	}
	for _, c := range changes {
		lines = append(lines, fmt.Sprintf("%s: %s: %s, %.0f less", c.Key, c.Text, c.Offer.Name(), c.Saves))
	}
	if after := fmt.Sprintf("%+v", sc); after != before {
		t.Error("the scenario was changed")
	}
	return best, lines
}

// Every knob is turned, and its smallest step that makes the purchase cheaper is told.
func TestKnobs(t *testing.T) {
	const hold = "stages: [{name: ramp, duration: 20m, devices: 100%}, {name: hold, duration: 1h}]\n"
	for _, tt := range []struct {
		name, text string
		want       []string // each is a line
		not        []string // no line holds it
	}{
		{
			"reports", "fleet: {groups: [{name: a, count: 1400, reported: {connectivity: {type: wifi}, every: 30s}}]}\n" + hold,
			[]string{
				"fleet.groups.a.reported.every: reports every 45s instead of 30s: S1, 7 units, 75 less",
				"--devices: 1,120 devices instead of 1,400: S1, 9 units, 25 less",
			},
			nil,
		},
		{
			"telemetry", "fleet: {groups: [{name: a, count: 500, telemetry: {every: 10s}}]}\n" + hold,
			[]string{"fleet.groups.a.telemetry.every: telemetry every 15s instead of 10s: S1, 8 units, 50 less"},
			nil,
		},
		{
			"queries", "fleet: {groups: [{name: a, count: 10}]}\n" + hold + "service: {queries: [{name: q, every: 1s, sql: SELECT * FROM devices}]}",
			[]string{"service.queries.q.every: query q every 2s instead of 1s: S1, 2 units, 25 less"},
			[]string{"page_size", "all queries"},
		},
		{
			"pages", "fleet: {groups: [{name: a, count: 900}]}\n" + hold + "service: {queries: [{name: q, every: 1m, page_size: 10, sql: SELECT deviceId FROM devices}]}",
			[]string{"service.queries.*.page_size: pages of 1,000 items in all queries (page_size: 1000): S1, 1 unit, 100 less"},
			nil,
		},
		{
			"all queries", "fleet: {groups: [{name: a, count: 10}]}\n" + hold +
				"service: {queries: [{name: q, every: 4s, sql: SELECT * FROM devices}, {name: r, every: 4s, sql: SELECT * FROM devices}]}",
			[]string{"service.queries.*.every: all queries 2 times as seldom: S1, 1 unit, 25 less"},
			nil,
		},
		{
			"in step", "fleet: {groups: [{name: a, count: 3300, reported: {connectivity: {type: wifi}, every: 2m, sync: true}}]}\n" + hold,
			[]string{"fleet.groups.a.reported.sync: reports spread over their interval instead of in one instant (sync: false): S1, 6 units, 2350 less"},
			nil,
		},
		{
			"a short ramp", "fleet: {groups: [{name: a, count: 9000}]}\nstages: [{name: ramp, duration: 10s, devices: 100%}, {name: hold, duration: 1h}]",
			[]string{"stages.ramp.duration: stage ramp over 30s instead of 10s: S1, 1 unit, 2475 less"},
			nil,
		},
		{
			"a fast ramp", "fleet: {groups: [{name: a, count: 12000}]}\nstages: [{name: ramp, connect_rate: 300/s, devices: 100%}, {name: hold, duration: 1h}]",
			[]string{"stages.ramp.connect_rate: devices come in stage ramp at 150/s instead of 300/s: S1, 1 unit, 2475 less"},
			nil,
		},
		{
			"rates of a stage", "fleet: {groups: [{name: a, count: 10, reported: {connectivity: {type: wifi}}, telemetry: {}}]}\n" +
				"stages: [{name: ramp, duration: 1m, devices: 100%}, {name: hold, duration: 1h, report_rate: 6/s, telemetry_rate: 6/s}]",
			[]string{
				"stages.hold.report_rate: reports in stage hold at 3/s instead of 6/s: S1, 2 units, 25 less",
				"stages.hold.telemetry_rate: telemetry in stage hold at 3/s instead of 6/s: S1, 2 units, 25 less",
			},
			nil,
		},
		{
			"methods and reads", "fleet: {groups: [{name: a, count: 10}]}\n" + hold +
				"service: {methods: [{name: m, group: a, method: x, rate: 5/s}], twin_reads: [{group: a, rate: 5/s}]}",
			[]string{
				"service.methods.m.rate: method m at 3.75/s instead of 5/s: S1, 3 units, 25 less",
				"service.twin_reads[0].rate: twin reads of a at 3.75/s instead of 5/s: S1, 3 units, 25 less",
			},
			nil,
		},
		{
			"a storm", "fleet: {groups: [{name: v, count: 9000, reported: {connectivity: {type: wifi}}}]}\n" +
				"stages: [{name: ramp, duration: 10m, devices: 100%}, {name: calm, duration: 5m}, {name: s, duration: 5m, storm: {drop: 80%}}]",
			[]string{
				"stages.s.storm.within: connections cut in stage s over 2m instead of at once: S1, 1 unit, 2475 less",
				"stages.s.storm.drop: 32 % of the connections cut in stage s instead of 80 %: S1, 1 unit, 2475 less",
			},
			[]string{"10m", "over 30s"}, // it is as long as the stage at most
		},
		{
			"a storm over a minute", "fleet: {groups: [{name: v, count: 15000, reported: {connectivity: {type: wifi}}}]}\n" +
				"stages: [{name: ramp, duration: 20m, devices: 100%}, {name: s, duration: 20m, storm: {drop: 80%, within: 1m}}]",
			[]string{"stages.s.storm.within: connections cut in stage s over 3m instead of 1m: S1, 1 unit, 2475 less"},
			nil,
		},
		{
			"sessions", "fleet: {groups: [{name: v, count: 500, session: {online: 60s, offline: exp(30s)}}]}\n" + hold,
			[]string{
				"fleet.groups.v.session.online: devices online for 1m30s instead of 1m0s: S1, 1 unit, 25 less",
				"fleet.groups.v.session.offline: devices offline for exp(1m0s) instead of exp(30s): S1, 1 unit, 25 less",
			},
			nil,
		},
		{
			"short tokens", "fleet: {groups: [{name: v, count: 3000, tokens: {life: 5m}}]}\n" + hold,
			[]string{"fleet.groups.v.tokens.life: tokens that live for 10m instead of 5m: S1, 2 units, 25 less"},
			nil,
		},
		{
			"a rollout", "fleet: {groups: [{name: v, count: 9000}]}\n" + hold + "service: {rollouts: [{name: r, group: v, properties: {a: 1}, rate: 80/s, stage: hold}]}",
			[]string{"service.rollouts.r.rate: rollout r at 24/s instead of 80/s: S1, 1 unit, 2475 less"},
			nil,
		},
		{
			"groups", "fleet: {groups: [{name: a, count: 500, reported: {connectivity: {type: wifi}, every: 20s}}, {name: b, count: 500, reported: {connectivity: {type: wifi}, every: 20s}}]}\n" + hold,
			[]string{"fleet.groups.*.reported.every: reports of all groups 2 times as seldom: S1, 6 units, 100 less"},
			nil,
		},
		{
			"the audit", "fleet: {groups: [{name: a, count: 10, reported: {connectivity: {type: wifi}}}]}\n" + hold + "service: {freshness: {probe: 1s}}",
			[]string{
				"service.freshness: without the freshness audit, which only tests have: S1, 1 unit, 50 less",
				"service.freshness.probe: freshness probes every 2s instead of 1s: S1, 2 units, 25 less",
			},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			best, lines := changesOf(t, tt.text, 100)
			all := strings.Join(lines, "\n")
			for _, want := range tt.want {
				if !strings.Contains("\n"+all+"\n", "\n"+want+"\n") {
					t.Errorf("%s\nis not among, for %s,\n%s", want, best.Name(), all)
				}
			}
			for _, no := range tt.not {
				if strings.Contains(all, no) {
					t.Errorf("%s is among\n%s", no, all)
				}
			}
		})
	}
}

// Few are told, the smallest first; what nothing carries is told what would.
func TestFewest(t *testing.T) {
	if _, lines := changesOf(t, "fleet: {groups: [{name: a, count: 20, reported: {connectivity: {type: wifi}, every: 10s}, telemetry: {every: 10s}}]}\n"+
		"stages: [{name: ramp, duration: 1m, devices: 100%}, {name: hold, duration: 1h}]\nservice: {twin_reads: [{group: a, rate: 1/s}]}", 2); len(lines) != 2 || !strings.HasPrefix(lines[0], "--devices") {
		t.Errorf("%q", lines)
	}
	best, lines := changesOf(t, "fleet: {groups: [{name: a, count: 30000, reported: {connectivity: {type: wifi}, every: 10s}}]}\nstages: [{name: ramp, duration: 1h, devices: 100%}, {name: hold, duration: 1h}]", 0)
	if best != nil || len(lines) == 0 || !strings.Contains(strings.Join(lines, "\n"), "reports every 15s instead of 10s: S3, 8 units, 0 less") {
		t.Errorf("%v, %q", best, lines)
	}
	if _, lines := changesOf(t, "fleet: {groups: [{name: a, count: 1}]}\nstages: [{name: s, duration: 1m, devices: 1}]", 0); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}
