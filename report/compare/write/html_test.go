package write_test

import (
	"flag"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/trend"
	"github.com/twinfleet/twinfleet/report/compare/write"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

var _ = flag.Bool("update", false, "write the golden files anew")

// several is a trend of runs of a minute, the last of which is slower.
func several(hostile bool) *trend.Trend {
	t := trend.New(compare.Options{})
	for n := range 4 {
		h := reporttest.Example(60)
		h.Run.Started = h.Run.Started.Add(time.Duration(n) * time.Hour)
		h.Run.Ended = h.Run.Ended.Add(time.Duration(n) * time.Hour)
		h.Run.Seed = uint64(n)
		if n == 2 {
			h.Run.Outcome = report.Interrupted
		}
		if hostile {
			reporttest.Hostile(h)
		}
		t.Add(h, "seed: "+string(rune('0'+n))+"\n")
	}
	return t
}

// A page of a comparison says what the texts say, needs nothing but itself, and whatever names records have are text.
func TestPages(t *testing.T) {
	for _, hostile := range []bool{false, true} {
		before, after := reporttest.Example(30), reporttest.Example(30)
		after.Run.Seed, after.Run.Outages = 7, nil
		if hostile {
			reporttest.Hostile(before)
			reporttest.Hostile(after)
		}
		c := compare.Compare(before, after, compare.Options{Scenarios: [2]string{"a: <b>", "a: <i>"}})
		for name, tc := range map[string]struct {
			write func(io.Writer) error
			want  []string
		}{
			"two": {func(w io.Writer) error { return write.HTML(w, c) }, []string{
				"the seeds differ: 42 and 7", "- a: &lt;b&gt;", "class=\"interval\"", "twin_report: p(99) &lt; 250ms", "2026-11-25 12:00:00", "before and after",
			}},
			"several": {func(w io.Writer) error { return write.TrendHTML(w, several(hostile)) }, []string{
				"4 runs", "runs 2, 3, 4 against the first: the seeds differ", "class=\"trend\"", "was interrupted", "run 4: ", "<h3>twin_report",
			}},
		} {
			var b strings.Builder
			if err := tc.write(&b); err != nil {
				t.Fatal(err)
			}
			page := b.String()
			for _, want := range tc.want {
				if !strings.Contains(page, want) {
					t.Errorf("%s: the page lacks %q", name, want)
				}
			}
			if hostile && !strings.Contains(page, "&lt;img src=x&gt;") {
				t.Errorf("%s: nothing hostile is shown: the test tests nothing", name)
			}
			for _, bad := range []string{"<img", "<script", "<b>\n", "\x1b", "NaN", "Inf", "ZgotmplZ"} {
				if strings.Contains(page, bad) {
					t.Errorf("%s: the page has %q", name, bad)
				}
			}
			if from := regexp.MustCompile(`(?i)(src|href)\s*=\s*"?(https?:|//)|@import|url\(["']?(https?:|//)`).FindString(page); from != "" {
				t.Errorf("%s: the page fetches from outside: %q", name, from)
			}
		}
	}
}

// The text of several runs, with all figures and without, as it is; JSON and Markdown hold the same.
func TestTrend(t *testing.T) {
	tr := several(false)
	reporttest.Golden(t, "testdata/trend.txt.golden", func(w io.Writer) error { return write.TrendText(w, tr, color.Style{}, true) })
	reporttest.Golden(t, "testdata/trend.md.golden", func(w io.Writer) error { return write.TrendMarkdown(w, tr, true) })
	reporttest.Golden(t, "testdata/trend.json.golden", func(w io.Writer) error { return write.TrendJSON(w, tr) })
	var b strings.Builder
	if err := write.TrendMarkdown(&b, several(true), true); err != nil {
		t.Fatal(err)
	}
	reporttest.PlainMarkdown(t, b.String())
}
