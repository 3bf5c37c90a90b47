//go:build integration

package run

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/twinfleet/twinfleet/internal/dashboard"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/charts"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/test/rig"
)

var looks = flag.String("looks", "", "folder that takes pictures of the live page in its states, to look at")

// hands are what the page's buttons do: they tell of it.
type hands chan string

func newHands() hands { return make(hands, 16) }

func (h hands) Pause(paused bool) { h <- fmt.Sprint("pause ", paused) }
func (h hands) Next()             { h <- "next" }
func (h hands) Stop()             { h <- "stop" }

func (h hands) Change(c report.LoadChange) error {
	if c.Devices != nil && *c.Devices == 13 {
		return errors.New("no stage runs whose load could be changed")
	}
	h <- "change " + c.String()
	return nil
}

// did waits for what is done next.
func (h hands) did(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-h:
		if got != want {
			t.Errorf("%s was done; want %s", got, want)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s was not done", want)
	}
}

// livePage serves the page of a run that a test plays.
func livePage(t testing.TB, controls dashboard.Controls) (s *dashboard.Server, url string) {
	t.Helper()
	s = dashboard.New(dashboard.Options{
		Controls: controls, Thresholds: reporttest.Rules(), Stages: []dashboard.Stage{{Name: "ramp", Duration: 30}, {Name: "hold", Duration: 60}},
		Scenario: []byte("name: example\n"),
	})
	url, err := s.Start(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return s, url
}

// scheme makes the browser prefer light or dark.
func scheme(name string) step {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
		})
		return err
	})
}

// pageStates are runs as the live page may show them.
func pageStates() map[string]func(*dashboard.Server) {
	h := reporttest.Example(60)
	h.Run.Stages[1].To += 30 * time.Second // it was to go on
	samples := reporttest.Live(h)
	begin := func(s *dashboard.Server) { _ = s.Begin(h.Run) }
	so := func(s *dashboard.Server, n int) {
		begin(s)
		for _, e := range h.Events {
			s.Event(e)
		}
		s.Event(report.Event{At: 4 * time.Second, Kind: report.KindThreshold, Stage: "ramp", Text: "a threshold is missed", Detail: "connect: error_rate < 0.1%: 1.67%"})
		for _, x := range samples[:n] {
			s.Sample(x)
		}
	}
	return map[string]func(*dashboard.Server){
		"starting": begin,
		"running":  func(s *dashboard.Server) { so(s, 40) },
		"agents": func(s *dashboard.Server) {
			begin(s)
			x := samples[40]
			standing := *x.Standing
			standing.Agents = reporttest.Agents(12)
			x.Standing = &standing
			s.Sample(x)
		},
		"missed": func(s *dashboard.Server) {
			so(s, 60)
			_ = s.End(reporttest.Example(60).Run)
		},
		"passed": func(s *dashboard.Server) {
			so(s, 3)
			_ = s.End(reporttest.Well(60))
		},
	}
}

// violations are what axe finds wrong with the page as it is.
func (b *browser) violations(t *testing.T) (found []string) {
	t.Helper()
	got, err := chromedp.Run(b, chromedp.Evaluate[string](`axe.run(document).then((r) => JSON.stringify(r.violations.map((v) =>
		v.impact + " " + v.id + ": " + v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0] ? n.any[0].message : "")).join("; "))))`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal("axe:", err)
	}
	if err := json.Unmarshal([]byte(got), &found); err != nil {
		t.Fatalf("axe said %q: %v", got, err)
	}
	return found
}

// Whoever sees little, sees no colours, or uses no mouse can use the page: axe finds nothing to complain of, in any state of a run, on any tab,
// light or dark, on a desktop and on a phone; and nothing is wider than the window.
func TestLivePageForEverybody(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(filepath.Join(rig.Root(), "test", "page", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("%v; make setup installs it", err)
	}
	for name, width := range map[string]int{"desktop": 1440, "phone": 390} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBrowser(t, width, 1000)
			b.do(t, "a size", chromedp.EmulateViewport(int64(width), 1000))
			for state, play := range pageStates() {
				s, url := livePage(t, newHands())
				play(s)
				b.do(t, "opening the page", chromedp.Navigate(url), until(`document.title !== "twinfleet"`),
					chromedp.Evaluate[chromedp.Void](string(axe)))
				tabs, err := chromedp.Run(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll("[role=tab]:not([hidden])")].map((t) => t.id)`))
				if err != nil {
					t.Fatal(err)
				}
				if state == "agents" {
					tabs = []string{"tab-agents"}
				} else if state != "missed" && (state != "running" || name != "desktop") { // the tables are the same
					tabs = tabs[:2]
				}
				for _, colours := range []string{"light", "dark"} {
					b.do(t, "colours", scheme(colours))
					for _, tab := range tabs {
						where := fmt.Sprintf("%s, %s, %s", state, colours, tab)
						b.do(t, "a tab", chromedp.Evaluate[chromedp.Void](`document.getElementById("`+tab+`").click()`))
						for _, v := range b.violations(t) {
							t.Errorf("%s: %s", where, v)
						}
						if wide, err := chromedp.Run(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth + 1`)); err != nil || wide {
							t.Errorf("%s: wider than the window: %t %v", where, wide, err)
						}
						b.look(t, fmt.Sprintf("%s-%s-%s-%s.png", state, name, colours, strings.TrimPrefix(tab, "tab-")))
					}
				}
				b.do(t, "leaving the page", chromedp.Navigate("about:blank"))
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			b.clean(t)
		})
	}
}

// look keeps a picture of the whole page, when that is wanted.
func (b *browser) look(t *testing.T, name string) {
	t.Helper()
	if *looks == "" {
		return
	}
	shot, err := chromedp.Run(b, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*looks, name), shot, 0o644); err != nil {
		t.Fatal(err)
	}
}

// key presses a key in what has the focus; TAB moves it.
func key(keys string) step { return chromedp.KeyEvent(keys) }

// focused waits until an element, by its id, has the focus.
func focused(id string) step { return until(`document.activeElement.id === "` + id + `"`) }

// Everything can be done with the keyboard alone: TAB reaches every control that is shown, arrows go through the tabs, a table is sorted, and
// what would harm the run asks first and gives the focus back.
func TestLivePageByKeyboard(t *testing.T) {
	t.Parallel()
	h := newHands()
	s, url := livePage(t, h)
	pageStates()["running"](s)
	b := newBrowser(t, 1280, 1000)
	b.do(t, "opening the page", chromedp.Navigate(url), badge("running"), until(`document.querySelectorAll(".legend button").length > 5`))

	// TAB goes through all of them and ends where it began.
	reached, err := chromedp.Run(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll("button, a[href], select, [tabindex='0']")]
		.filter((e) => !e.disabled && e.tabIndex >= 0 && e.checkVisibility()).map((e, i) => { e.dataset.stop = i; return e.id || e.textContent })`))
	if err != nil {
		t.Fatal(err)
	}
	b.do(t, "the first", chromedp.Evaluate[chromedp.Void](`window.stops = new Set();
		document.addEventListener("focusin", (e) => window.stops.add(e.target.dataset.stop)); document.activeElement.blur()`))
	for range len(reached) + 3 {
		b.do(t, "TAB", key(kb.Tab))
	}
	missed, err := chromedp.Run(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll("[data-stop]")]
		.filter((e) => !window.stops.has(e.dataset.stop)).map((e) => e.id || e.textContent)`))
	if err != nil || len(missed) > 0 || len(reached) < 20 {
		t.Errorf("of %d controls TAB does not reach %q (%v)", len(reached), missed, err)
	}

	b.do(t, "tabs by arrows", chromedp.Focus(chromedp.CSS("#tab-charts")), key(kb.ArrowRight), focused("tab-thresholds"), key(kb.ArrowRight), focused("tab-operations"),
		until(`!document.getElementById("panel-operations").hidden && document.getElementById("panel-charts").hidden`),
		key(kb.End), focused("tab-events"), key(kb.ArrowRight), focused("tab-charts"), key(kb.ArrowLeft), key(kb.Home), focused("tab-charts"))

	const column = `[...document.querySelectorAll("#panel-operations thead button")].find((b) => b.textContent === "p99")`
	const values = `[...document.querySelectorAll("#panel-operations tbody tr")].map((r) => r.cells[8].textContent)`
	b.do(t, "a sorted table", chromedp.Focus(chromedp.CSS("#tab-charts")), key(kb.ArrowRight), key(kb.ArrowRight), focused("tab-operations"),
		chromedp.Evaluate[chromedp.Void](column+`.focus()`), key(kb.Enter), until(column+`.parentElement.getAttribute("aria-sort") === "descending"`))
	down, err := chromedp.Run(b, chromedp.Evaluate[[]string](values))
	if err != nil {
		t.Fatal(err)
	}
	b.do(t, "the other way", key(kb.Enter), until(column+`.parentElement.getAttribute("aria-sort") === "ascending"`))
	up, err := chromedp.Run(b, chromedp.Evaluate[[]string](values))
	if err != nil || len(up) < 5 || down[0] != "2 s" || up[len(up)-1] != "2 s" {
		t.Errorf("sorted by p99: %q, then %q (%v)", down, up, err)
	}

	// Stop and the next stage ask; Escape and the other button leave the run as it is.
	for _, x := range []struct{ id, does, says string }{{"next", "next", "Stage hold ends at once"}, {"stop", "stop", "its verdict will be"}} {
		b.do(t, x.id+" asks", chromedp.Focus(chromedp.CSS("#"+x.id)), key(kb.Enter), until(`document.getElementById("ask").open`), visible(x.says), focused("ask-no"),
			key(kb.Escape), until(`!document.getElementById("ask").open`), focused(x.id),
			key(kb.Enter), focused("ask-no"), key(kb.Enter), until(`!document.getElementById("ask").open`), focused(x.id))
		if len(h) > 0 {
			t.Errorf("%s was done though nobody said so", <-h)
		}
		b.do(t, x.id+" does it", key(kb.Enter), focused("ask-no"), key(kb.Tab), focused("ask-yes"), key(kb.Enter), until(`!document.getElementById("ask").open`), focused(x.id))
		h.did(t, x.does)
	}

	// The load: what cannot be is said in the dialog, which stays; what is done is told, with what follows.
	b.do(t, "another load", chromedp.Focus(chromedp.CSS("#change")), key(kb.Enter), focused("load-devices"), visible("never PASSED"),
		key("many"), key(kb.Enter), visible("a whole number of devices"), focused("load-devices"),
		chromedp.SetValue(chromedp.CSS("#load-devices"), "13"), key(kb.Enter), visible("no stage runs whose load could be changed"),
		chromedp.SetValue(chromedp.CSS("#load-devices"), "1,200"), key(kb.Tab), focused("load-reports"), key("2.5"), key(kb.Enter),
		until(`!document.getElementById("load").open`), focused("change"))
	h.did(t, "change to 1,200 devices, reports at 2.50/s")
	s.Event(report.Event{Kind: report.KindChanged, OK: true, Text: "the load was changed by hand", Detail: "to 1,200 devices, reports at 2.50/s"})
	b.do(t, "what the run tells of it", visible("The load was changed by hand: to 1,200 devices, reports at 2.50/s. Such a run is never PASSED."))
	b.expected(t, "409 (Conflict)") // the browser says of itself that it was refused
	b.do(t, "leaving the page", chromedp.Navigate("about:blank"))
	b.clean(t)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A page that is open when the run ends stays as its report, also when the program goes; a reload before that shows the same.
func TestLivePageOfAFinishedRun(t *testing.T) {
	t.Parallel()
	s, url := livePage(t, newHands())
	states := pageStates()
	states["running"](s)
	b := newBrowser(t, 1280, 1000)
	b.do(t, "opening the page", chromedp.Navigate(url), badge("running"))
	h := reporttest.Example(60)
	if err := s.End(h.Run); err != nil {
		t.Fatal(err)
	}
	over := []step{
		badge("missed"), visible("1 of 2 thresholds were missed"), visible("The run is over; this page stays as its report."),
		until(`document.getElementById("save").href.startsWith("blob:")`),
		until(`!document.getElementById("controls").checkVisibility()`),
	}
	b.do(t, "the end", over...)
	b.do(t, "a reload", append([]step{chromedp.Reload()}, over...)...)
	b.do(t, "a bar that is not full", until(`Math.abs(parseFloat(document.querySelectorAll("#stages li")[1].style.getPropertyValue("--done")) - 50) < 1`))
	b.do(t, "the report", chromedp.Navigate(strings.SplitN(url, "#", 2)[0]+"report.html"), visible("The scenario as it ran"),
		until(`document.querySelectorAll(".uplot canvas").length >= 4`),
		chromedp.Navigate(url))
	b.do(t, "the page again", over...)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	b.do(t, "the program is gone", visible("The run is over and its program has ended"), badge("missed"),
		chromedp.Evaluate[chromedp.Void](`document.getElementById("tab-operations").click()`), visible("twin_report"),
		until(`document.getElementById("save").checkVisibility() && !document.getElementById("open").checkVisibility()`))
	b.clean(t)
}

// A page that is open for long does not grow: it asks once more for all, which the server has put together meanwhile. What the run watches
// itself with is no headline.
func TestLivePageOfALongRun(t *testing.T) {
	t.Parallel()
	s := dashboard.New(dashboard.Options{Controls: newHands(), Probe: "redmond"})
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			asked.Add(1)
		}
		s.Handler().ServeHTTP(w, r)
	}))
	defer server.Close()
	h := reporttest.Example(4)
	if err := s.Begin(h.Run); err != nil {
		t.Fatal(err)
	}
	sample, second := reporttest.Live(h)[3], 0
	play := func(n int) {
		for range n {
			second++
			sample.At = time.Duration(second) * time.Second
			s.Sample(sample)
		}
	}
	play(1195)
	b := newBrowser(t, 1280, 1000)
	b.do(t, "opening the page", chromedp.Navigate(server.URL+"/#token"), badge("running"), visible("p99 of twin_report"),
		until(`!document.body.innerText.includes("p95 of query redmond")`), chromedp.Evaluate[chromedp.Void](`document.getElementById("tab-operations").click()`))
	for asked.Load() < 2 && second < 2000 {
		play(8)
		b.do(t, "the next seconds", visible(fmt.Sprintf("%dm%02ds into the run", second/60, second%60)))
	}
	if asked.Load() != 2 || second < 1500 {
		t.Errorf("after %d s all was asked for %d times; want twice, after 1,500", second, asked.Load())
	}
	b.do(t, "leaving the page", chromedp.Navigate("about:blank"))
	b.clean(t)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// All files of the page together are small, and a thousand samples are drawn with no more than a bounded number of strokes.
func TestLivePageIsLight(t *testing.T) {
	t.Parallel()
	s, url := livePage(t, newHands())
	defer s.Close()
	sum := 0
	for _, name := range append([]string{""}, dashboard.Files()...) {
		resp, err := http.Get(strings.SplitN(url, "#", 2)[0] + name)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(name, resp.Status, err)
		}
		sum += len(body)
	}
	t.Logf("the page's files have %d bytes", sum)
	if sum >= 300_000 {
		t.Errorf("the page's files have %d bytes; want fewer than 300,000", sum)
	}
	b := newBrowser(t, 1440, 1000)
	b.do(t, "opening the page", chromedp.Navigate(url), until(`typeof twinfleetCharts === "function"`))
	got := b.drawn(t)
	t.Logf("1,000 samples of %d operations: first %.1f ms, then %.1f ms, with %d strokes", got.Operations, got.First, got.Again, got.Strokes)
	if got.Strokes == 0 || got.Strokes > 60_000 {
		t.Errorf("1,000 samples take %d strokes; want at most 60,000", got.Strokes)
	}
	b.clean(t)
}

// drawing is what it takes to draw charts of 1,000 samples, best of several, in milliseconds.
type drawing struct {
	First, Again        float64
	Strokes, Operations int
}

// drawn draws the charts of 1,000 samples anew, and once more with one sample more each.
func (b *browser) drawn(t testing.TB) (d drawing) {
	var samples []report.Sample
	stretch := reporttest.Example(100).Samples
	for n := range 10 {
		for _, x := range stretch {
			x.At += time.Duration(n) * 100 * time.Second
			samples = append(samples, x)
		}
	}
	data, err := json.Marshal(charts.New(samples, []report.Stage{{Name: "ramp", To: 500 * time.Second}, {Name: "hold", From: 500 * time.Second, To: 1000 * time.Second}}))
	if err != nil {
		t.Fatal(err)
	}
	d, err = chromedp.Run(b, chromedp.Evaluate[drawing](`(async () => {
		const data = `+string(data)+`, root = document.getElementById("charts"), settled = () => new Promise((r) => queueMicrotask(() => queueMicrotask(r)));
		const best = { First: Infinity, Again: Infinity, Strokes: 0, Operations: data.ops.length };
		let strokes = 0;
		for (const [proto, name] of [[Path2D.prototype, "lineTo"], [CanvasRenderingContext2D.prototype, "fillRect"], [CanvasRenderingContext2D.prototype, "fillText"]]) {
			const plain = proto[name];
			proto[name] = function (...args) { strokes++; return plain.apply(this, args); };
		}
		for (let i = 0; i < 8; i++) {
			let from = performance.now();
			strokes = 0;
			const all = twinfleetCharts(root, data);
			await settled();
			best.First = Math.min(best.First, performance.now() - from);
			best.Strokes = Math.max(best.Strokes, strokes);
			await new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
			from = performance.now();
			all.update();
			await settled();
			best.Again = Math.min(best.Again, performance.now() - from);
			all.destroy();
		}
		return best;
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// BenchmarkLivePage says how long a thousand samples take to be drawn: anew, as when the page is opened, and once more, as every second.
func BenchmarkLivePage(b *testing.B) {
	s, url := livePage(b, newHands())
	defer s.Close()
	page := newBrowser(b, 1440, 1000)
	page.do(b, "opening the page", chromedp.Navigate(url), until(`typeof twinfleetCharts === "function"`))
	var best drawing
	for b.Loop() {
		best = page.drawn(b)
	}
	b.ReportMetric(best.First, "ms/open")
	b.ReportMetric(best.Again, "ms/second")
	b.ReportMetric(0, "ns/op")
}
