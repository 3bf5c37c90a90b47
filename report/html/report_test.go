package html_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

func page(t *testing.T, h *report.History, p account.Percentiles) string {
	t.Helper()
	var b bytes.Buffer
	if err := html.WriteWith(&b, h, nil, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// has fails the test for each text that a page lacks.
func has(t *testing.T, page string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
}

// The first screen answers what people ask, the thresholds that trouble stand first, and each has its chart.
func TestFirstScreen(t *testing.T) {
	h := reporttest.Example(20)
	h.Run.Rules[0].Expr = "p(99) < 100ms"
	h.Run.Thresholds = []threshold.Verdict{
		{Threshold: "connect: error_rate < 0.1%", Observed: "error_rate = 0%", Pass: true},
		{Threshold: "twin_report: p(99) < 100ms", Observed: "p(99) = 111ms", Since: h.Run.Started.Add(12 * time.Second)},
	}
	h.Run.Rules[0], h.Run.Rules[1] = h.Run.Rules[1], h.Run.Rules[0]
	got := page(t, h, nil)
	has(t, got, "Did it hold?", "Since when not?", "What failed, and why?", "Which group?", "Can I believe it?", "missed since 12.0s in stage hold")
	if strings.Index(got, "twin_report: p(99) &lt; 100ms</code>") > strings.Index(got, "connect: error_rate &lt; 0.1%</code>") {
		t.Error("the threshold that was missed does not come first")
	}
	charts := regexp.MustCompile(`(?s)<svg class="curve".*?</svg>`).FindAllString(got, -1)
	if len(charts) != 2 {
		t.Fatalf("%d charts of 2 thresholds", len(charts))
	}
	missed, held := charts[0], charts[1]
	if !strings.Contains(missed, `class="missed"`) || strings.Contains(held, `class="missed"`) {
		t.Errorf("where a threshold was missed is not shaded, or one that held is:\n%s\n%s", missed, held)
	}
	has(t, missed, `class="bound"`, `class="figure"`, `class="moment"`, "wanted &lt; 100ms", "111ms in the end")
	for _, chart := range charts {
		for d := xml.NewDecoder(strings.NewReader(chart)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, chart)
			}
		}
	}
}

// What there is to know of outages, rollouts, gaps and errors has its place, with times.
func TestSections(t *testing.T) {
	h := reporttest.Example(20)
	h.Samples = append(h.Samples[:5:5], h.Samples[12:]...)
	h.Run.Grafana = "https://grafana.example"
	got := page(t, h, account.Percentiles{50, 99.99})
	has(t, got, "<th>p99.99</th>", "<th>mean</th>", "<th>min</th>", "no figures from 5.00s to 13.0s", "devices gone at once", "the rollout stopped here",
		"the target closed the connection", "https://grafana.example/d/twinfleet-overview?from=", "By stage", "By group")
	if strings.Contains(got, "<th>p90</th>") {
		t.Error("a percentile that was not chosen is shown")
	}
	if !strings.Contains(page(t, reporttest.Example(5), nil), "<th>p99.9</th>") {
		t.Error("without a choice, the usual percentiles are not shown")
	}
}

// A run of which there is next to nothing has a page all the same.
func TestNextToNothing(t *testing.T) {
	h := &report.History{Run: &report.Run{Name: "empty", Started: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), Rules: []report.Rule{{Selector: "connect", Expr: "p(99) < 1s"}}}}
	h.Complete()
	got := page(t, h, nil)
	has(t, got, "empty", "not known", "no data", "The record ends without a last word", "Nothing was begun", "Nobody knows")
	if strings.Contains(got, "<svg") || strings.Contains(got, "NaN") {
		t.Error("nothing is drawn as something")
	}
}

// Whatever names a record holds, they are text: no element, no attribute, no address of theirs gets into the page.
func TestHostileNames(t *testing.T) {
	h := reporttest.Example(20)
	reporttest.Hostile(h)
	h.Run.Grafana = "javascript:alert(1)"
	got := page(t, h, nil)
	has(t, got, "&lt;img src=x&gt;")
	for _, bad := range []string{"<img", "javascript:alert", "href=\"http://e.example", "\x1b", "\x07"} {
		if strings.Contains(got, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

// A run of six hours, with events and reasons without end, makes a page that can be mailed, in a time that one waits.
func TestPageOfSixHours(t *testing.T) {
	h := reporttest.Example(60)
	minute := h.Samples
	for n := range 6*60 - 1 {
		for _, s := range minute {
			s.At += time.Duration(n+1) * time.Minute
			h.Samples = append(h.Samples, s)
		}
	}
	value := 0.1
	for i := range h.Samples { // as records of this version have it
		h.Samples[i].Judged = []report.Judged{{Value: &value, Missed: i%2 == 0}, {Value: &value}}
	}
	h.Run.Ended = h.Run.Started.Add(6 * time.Hour)
	for i := range 20_000 {
		h.Events = append(h.Events, report.Event{At: time.Duration(i) * time.Second, Kind: report.KindOutage, Text: "devices lost their connections", Detail: "1 of 3,000 is gone"})
		h.Run.Outages = append(h.Run.Outages, report.Outage{From: time.Duration(i) * time.Second, To: time.Duration(i+1) * time.Second, Returns: make([]int, 100), Every: time.Second})
	}
	got := page(t, h, nil)
	if len(got) > 2<<20 {
		t.Errorf("%d bytes", len(got))
	}
	has(t, got, "19,601 more events", "There are 19,901 more: summary.json has all")
	t.Logf("%d bytes", len(got))
}

// The agents of a run on many machines are a table, those in trouble first; a run in one process has none.
func TestAgents(t *testing.T) {
	h := reporttest.Example(5)
	if strings.Contains(page(t, h, nil), "<h2>Agents</h2>") {
		t.Error("a run in one process has agents")
	}
	h.Run.Agents = reporttest.Agents(150)
	got := page(t, h, nil)
	has(t, got, "<h2>Agents</h2>", "150 with 149,000 devices; 1 lost, with 1,000 devices", "There are 50 more agents, all well: summary.json has all.",
		"agent agent-2 was lost at 7.00s in stage hold with 1,000 devices: nothing was heard of it for 3s; the run went on without them",
		"the clock of 1 of 150 agents is not well known: that of agent-4 to ±80.0ms; freshness of what their devices reported is uncertain by as much")
	if strings.Index(got, "<td>agent-2</td>") > strings.Index(got, "<td>agent-1</td>") {
		t.Error("the lost agent is not the first")
	}
	reporttest.Hostile(h)
	if got := page(t, h, nil); strings.Contains(got, "<img") {
		t.Error("what agents call themselves is an element")
	}
}
