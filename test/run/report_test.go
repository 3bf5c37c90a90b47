//go:build integration

package run

import (
	"bytes"
	"context"
	"encoding/json"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/trend"
	"github.com/twinfleet/twinfleet/report/compare/write"
	"github.com/twinfleet/twinfleet/report/html"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/test/rig"
)

// theRecord is the folder of the one record below a folder.
func theRecord(t *testing.T, root string) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("records %v (%v); want one", dirs, err)
	}
	return dirs[0]
}

// kill -9 of the program in the middle of a run: the reports tell of what had happened until then.
func TestRunIsKilled(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	p := rig.Start(t, dir, nil, binary, "run", scenarioFile("smoke"), "--metrics-addr", "", "--set", "stages.hold.duration=60s")
	p.Line(t, "stage 2 of 2", 30*time.Second)
	p.Line(t, " connected", 10*time.Second)
	p.Line(t, " connected", 10*time.Second)
	p.Kill()
	folder := theRecord(t, filepath.Join(dir, "runs"))
	made := rig.Start(t, dir, nil, binary, "report", folder)
	if code := made.Wait(t, 30*time.Second); code != 0 {
		t.Fatalf("report ended with %d", code)
	}
	for _, want := range []string{"INTERRUPTED  smoke", "200 devices · embedded hub", "twin_report", "provision"} {
		if !strings.Contains(made.Stdout(), want) {
			t.Errorf("the summary lacks %q\n%s", want, made.Stdout())
		}
	}
	for name, want := range map[string]string{"report.html": "Operations a second", "summary.json": `"operation": "twin_report"`, "junit.xml": "<testcase classname=\"smoke.thresholds\"", "report.md": "| twin_report |"} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s (%v) lacks %q", name, err, want)
		}
	}
	h, err := record.Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	if r := h.Run; h.Whole || r.Target != "embedded hub" || *r.Ran != 200 || len(r.Stages) != 2 || r.Stages[0].To == 0 || r.Totals.Find(metrics.OpProvision, "") == nil {
		t.Errorf("the record of the killed run knows %+v", r)
	}
	for _, s := range h.Samples {
		if len(s.Judged) != len(h.Run.Rules) {
			t.Fatalf("a sample has %d of %d thresholds", len(s.Judged), len(h.Run.Rules))
		}
	}
}

// reportPages are pages of reports and comparisons, by name.
func reportPages(t *testing.T) map[string]string {
	t.Helper()
	missed := reporttest.Example(60)
	missed.Run.Rules[0].Expr = "p(99) < 100ms"
	missed.Run.Thresholds = []threshold.Verdict{
		{Threshold: "twin_report: p(99) < 100ms", Observed: "p(99) = 111ms", Since: missed.Run.Started.Add(31 * time.Second)},
		{Threshold: "connect: error_rate < 0.1%", Observed: "error_rate = 0%", CannotSay: true},
	}
	missed.Run.Grafana = "http://127.0.0.1:3000"
	well := reporttest.Example(60)
	well.Run = reporttest.Well(60)
	empty := &report.History{Run: &report.Run{Name: "empty", Started: missed.Run.Started}}
	empty.Complete()
	hostile := reporttest.Example(30)
	reporttest.Hostile(hostile)
	several := trend.New(compare.Options{})
	for range 12 {
		several.Add(reporttest.Example(30), "")
	}
	dir := t.TempDir()
	pages := make(map[string]string)
	for name, write := range map[string]func(io.Writer) error{
		"missed":  func(w io.Writer) error { return html.Write(w, missed, []byte("name: example\n")) },
		"well":    func(w io.Writer) error { return html.Write(w, well, nil) },
		"empty":   func(w io.Writer) error { return html.Write(w, empty, nil) },
		"hostile": func(w io.Writer) error { return html.Write(w, hostile, nil) },
		"two":     func(w io.Writer) error { return write.HTML(w, compare.Compare(missed, hostile, compare.Options{})) },
		"several": func(w io.Writer) error { return write.TrendHTML(w, several) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name+".html")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		pages[name] = "file://" + path
	}
	return pages
}

// media has a page shown on a screen or on paper, light or dark.
func media(kind, colours string) step {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media: kind, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}},
		})
		return err
	})
}

// is asks a page whether something is so.
func (b *browser) is(t *testing.T, expression string) bool {
	t.Helper()
	yes, err := chromedp.Run(b, chromedp.Evaluate[bool](expression))
	if err != nil {
		t.Fatal(err)
	}
	return yes
}

// wide is what sticks out of a page to the right, and is not in something that scrolls; empty when nothing does.
const wide = `document.documentElement.scrollWidth <= innerWidth + 1 ? "" : [...document.querySelectorAll("body *")].filter((e) =>
	e.getBoundingClientRect().right > innerWidth + 1 && ![...function*() { for (let p = e.parentElement; p; p = p.parentElement) yield p }()].some((p) =>
		/auto|scroll|hidden/.test(getComputedStyle(p).overflowX))).slice(0, 3).map((e) => e.tagName + "." + e.getAttribute("class") + " " + e.textContent.slice(0, 60)).join("; ") || "something"`

// sticksOut asks a page for what is wide.
func (b *browser) sticksOut(t *testing.T) string {
	t.Helper()
	what, err := chromedp.Run(b, chromedp.Evaluate[string](wide))
	if err != nil {
		t.Fatal(err)
	}
	return what
}

// Reports and comparisons are for everybody, on a desktop and on a phone, light and dark: axe finds nothing to complain of, nothing is wider than
// the window, nothing is fetched, and no message is on the console.
func TestReportsForEverybody(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(filepath.Join(rig.Root(), "test", "page", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("%v; make setup installs it", err)
	}
	pages := reportPages(t)
	b := newBrowser(t, 1280, 1000)
	for name, address := range pages {
		for _, width := range []int64{1280, 390} {
			for _, colours := range []string{"light", "dark"} {
				b.do(t, "opening "+name, chromedp.EmulateViewport(width, 1000), media("", colours), chromedp.Navigate(address), until(`document.readyState === "complete"`),
					chromedp.Evaluate[chromedp.Void](string(axe)))
				if what := b.sticksOut(t); what != "" {
					t.Errorf("%s, %s: at %d pixels it is wider than the window: %s", name, colours, width, what)
				}
				got, err := chromedp.Run(b, chromedp.Evaluate[string](`axe.run(document).then((r) => JSON.stringify(r.violations.map((v) =>
					v.impact + " " + v.id + ": " + v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0] ? n.any[0].message : "")).join("; "))))`,
					chromedp.EvalAwaitPromise))
				var complaints []string
				if err != nil || json.Unmarshal([]byte(got), &complaints) != nil {
					t.Fatalf("axe: %v, %s", err, got)
				}
				for _, c := range complaints {
					t.Errorf("%s, %s, %d pixels: %s", name, colours, width, c)
				}
			}
		}
	}
	b.clean(t)
}

// On paper a report is dark on white whatever the screen is, fits the width of a page, and has few pages.
func TestReportsOnPaper(t *testing.T) {
	t.Parallel()
	b := newBrowser(t, 1280, 1000)
	for name, address := range reportPages(t) {
		const width = 703 // of A4 without its margins, in pixels
		b.do(t, "opening "+name, chromedp.EmulateViewport(width, 1000), media("print", "dark"), chromedp.Navigate(address), until(`document.readyState === "complete"`))
		if what := b.sticksOut(t); what != "" {
			t.Errorf("%s is wider than the paper: %s", name, what)
		}
		if !b.is(t, `getComputedStyle(document.body).backgroundColor === "rgb(255, 255, 255)" && getComputedStyle(document.querySelector("h1")).color === "rgb(17, 17, 17)"`) {
			t.Errorf("%s is not dark on white", name)
		}
		if !b.is(t, `document.querySelector(".running").checkVisibility()`) {
			t.Errorf("%s does not say on paper which run it is of", name)
		}
		b.do(t, "the screen again", media("", "dark"))
		pdf, err := chromedp.Run(b, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize(), chromedp.PDFPrintBackground()))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(pdf, []byte("/Type /Page\n")); n < 1 || n > 12 {
			t.Errorf("%s takes %d pages", name, n)
		}
	}
	b.clean(t)
}

func near(c color.Color, want color.RGBA) bool {
	r, g, b, _ := c.RGBA()
	far := func(x uint32, y uint8) bool { d := int(x>>8) - int(y); return d < -12 || d > 12 }
	return !far(r, want.R) && !far(g, want.G) && !far(b, want.B)
}
