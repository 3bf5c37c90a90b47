package plan_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// A query counts for as many messages as the embedded hub meters for it, page by page.
func TestPagesAreMetered(t *testing.T) {
	const devices = 25
	h, err := hub.Open(t.Context(), hub.Options{Tier: "S3", Units: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://" + h.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range devices {
		id := fmt.Sprintf("device-%02d", i)
		if _, err := c.CreateDevice(t.Context(), registry.Identity{DeviceID: id, Status: registry.StatusEnabled}); err != nil {
			t.Fatal(err)
		}
		missing := size(t, c, id) // a comma comes with each
		if _, err := c.PatchTwin(t.Context(), id, fmt.Appendf(nil, `{"tags":{"fill":"%s"}}`, strings.Repeat("x", missing)), "*"); err != nil {
			t.Fatal(err)
		}
	}
	h.Arm()
	for _, page := range []int{1, 3, 4, 10, 25, 1000} {
		p := planOf(t, fmt.Sprintf("fleet: {groups: [{name: a, count: %d}]}\nstages: [{name: s, duration: 10s}]\nservice: {queries: [{name: q, every: 10s, page_size: %d, sql: "+
			"SELECT * FROM devices}]}\n", devices, page), plan.Options{})
		before, found := h.Stats().QuotaUsed, 0
		for q := c.Query("SELECT * FROM devices", page); q.More(); {
			x, err := q.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found += len(x.Items)
		}
		counted := float64(h.Stats().QuotaUsed - before)
		if found != devices || p.Need.Stages[0].Messages != counted || p.Metering.Run != counted {
			t.Errorf("pages of %d: the hub counts %g messages for %d twins; planned are %g and %g", page, counted, found, p.Need.Stages[0].Messages, p.Metering.Run)
		}
	}
}

// size is how many bytes a device's twin lacks of what plans take it for, in a result.
func size(t *testing.T, c *service.Client, id string) int {
	t.Helper()
	if _, err := c.PatchTwin(t.Context(), id, []byte(`{"tags":{"fill":""}}`), "*"); err != nil {
		t.Fatal(err)
	}
	x, err := c.Query(fmt.Sprintf("SELECT * FROM devices WHERE deviceId = '%s'", id), 1).Next(t.Context())
	if err != nil || len(x.Items) != 1 {
		t.Fatalf("%d items, %v", len(x.Items), err)
	}
	return demand.TwinBytes - 1 - len(x.Items[0])
}

// Of the states in which a run could stay the busiest stands for the day, not the longest; stages of a capacity trial that only
// prepare are none.
func TestBusiestStays(t *testing.T) {
	const fleet = "fleet: {groups: [{name: a, count: 100, reported: {connectivity: {type: wifi}, every: 1m}, telemetry: {payload: {x: 1}}}]}\n" +
		"stages: [{name: up, duration: 1m, devices: 100%}, "
	for _, x := range []struct {
		stages, stage, longer string
		messages              float64 // a second
	}{
		{"{name: quiet, duration: 30m}, {name: busy, duration: 29m, report_rate: 40/s}]", "busy", "quiet", 40 + 100.0/60},
		{"{name: busy, duration: 29m, report_rate: 40/s}, {name: quiet, duration: 30m}]", "busy", "quiet", 40 + 100.0/60},
		{"{name: quiet, duration: 5m}, {name: busy, duration: 29m, report_rate: 40/s}]", "busy", "", 40 + 100.0/60},
		{"{name: a, duration: 5m}, {name: b, duration: 10m}]", "b", "", 100.0 / 60},
		{"{name: rises, duration: 30m, report_rate: 0/s..90/s}, {name: hold, duration: 5m}]", "hold", "", 100.0 / 60},
		{"{name: storm, duration: 30m, report_rate: 90/s, storm: {drop: 10%}}, {name: hold, duration: 5m}]", "hold", "", 100.0 / 60},
		{"{name: down, duration: 1m, devices: 50}, {name: few, duration: 30m, report_rate: 90/s}, {name: back, duration: 1m, devices: 100}, {name: hold, duration: 5m}]", "few", "", 90 + 50.0/60},
		{"{name: down, duration: 1m, devices: 50}, {name: few, duration: 30m}, {name: hold, duration: 5m, devices: 100}, {name: stay, duration: 5m}]", "stay", "few", 100.0 / 60},
		{"{name: messages, duration: 5m, telemetry_rate: 9/s}, {name: reports, duration: 6m, report_rate: 8/s}]", "messages", "reports", 9 + 100.0/60},
		{"{name: gather, duration: 5s}, {name: drain, duration: 1m, report_rate: 90/s}, {name: rest, duration: 1s}, {name: settle, duration: 1m, report_rate: 9/s}, " +
			"{name: hold, duration: 2m, report_rate: 9/s}]", "hold", "", 9 + 100.0/60},
	} {
		p := planOf(t, fleet+x.stages+"\n", plan.Options{})
		if s := p.Steady; s == nil || s.Stage != x.stage || s.Longer != x.longer || !s.Stays {
			t.Errorf("%s: %+v; want stage %s, longer %q", x.stages, s, x.stage, x.longer)
		}
		if got := p.Metering.Day / 86400; math.Abs(got-x.messages) > 0.01 {
			t.Errorf("%s: %g messages a second; want %g", x.stages, got, x.messages)
		}
		if choice := strings.Join(p.Need.Assumes, "; "); strings.Contains(choice, "stage "+x.stage+", the busiest") != (x.longer != "") || !strings.Contains(choice, x.longer) {
			t.Errorf("%s: %s", x.stages, choice)
		}
	}
}

// Direct methods count by each started 4 KB of a request, which is said where it is not the same as calls.
func TestMethodUnits(t *testing.T) {
	for _, x := range []struct {
		bytes        int
		units, says  string
		unitsASecond float64
	}{
		{100, "", "", 3},
		{4000, "", "", 3},
		{5000, "by 4 KB", "direct methods count by each started 4 KB of their request: 3 calls/s all day are 6 units/s", 6},
	} {
		p := planOf(t, fmt.Sprintf("fleet: {groups: [{name: a, count: 10}]}\nstages: [{name: up, duration: 1m, devices: 100%%}, {name: hold, duration: 1m}]\n"+
			"service: {methods: [{name: m, group: a, method: x, payload: {k: %q}, rate: 3/s}]}\n", strings.Repeat("y", x.bytes)), plan.Options{})
		for _, c := range p.Need.Classes {
			if c.Class == plan.ClassMethods && (c.Unit != x.units || math.Abs(c.Steady-x.unitsASecond) > 1e-9) {
				t.Errorf("%d bytes: %q, %g units/s", x.bytes, c.Unit, c.Steady)
			}
		}
		if got := strings.Join(p.Need.Assumes, "; "); got != x.says {
			t.Errorf("%d bytes: %q", x.bytes, got)
		}
	}
}

// A query that a cron expression brings every so many seconds comes as often as seconds say, however often that is.
func TestCronCountsADay(t *testing.T) {
	for expression, want := range map[string]float64{"*/5 * * * * *": 17_280, "* * * * * *": 86_400, "*/5 * * * *": 288, "0 * * * *": 24, "0 0 * * 1": 1.0 / 7} {
		p := planOf(t, fmt.Sprintf("fleet: {groups: [{name: a, count: 10}]}\nstages: [{name: up, duration: 1m, devices: 100%%}, {name: hold, duration: 1m}]\n"+
			"service: {queries: [{name: q, cron: %q, sql: SELECT * FROM devices}]}\n", expression), plan.Options{})
		if got := p.Metering.DayLeast; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: %g a day; want %g", expression, got, want)
		}
	}
}
