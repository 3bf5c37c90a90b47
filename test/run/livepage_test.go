//go:build integration

package run

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/twinfleet/twinfleet/internal/dashboard"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/test/rig"
)

var looks = flag.String("looks", "", "folder that takes pictures of the live page in its states, to look at")

// still is a run whose page has nobody to control.
type still struct{}

func (still) Pause(bool)                     {}
func (still) Next()                          {}
func (still) Stop()                          {}
func (still) Change(report.LoadChange) error { return nil }

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
				s := dashboard.New(dashboard.Options{
					Controls: still{}, Thresholds: reporttest.Rules(), Stages: []dashboard.Stage{{Name: "ramp", Duration: 30}, {Name: "hold", Duration: 60}},
				})
				url, err := s.Start(t.Context(), "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				play(s)
				b.do(t, "opening the page", chromedp.Navigate("about:blank"), chromedp.Navigate(url), until(`document.title !== "twinfleet"`),
					chromedp.Evaluate[chromedp.Void](string(axe)))
				tabs, err := chromedp.Run(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll("[role=tab]:not([hidden])")].map((t) => t.id)`))
				if err != nil {
					t.Fatal(err)
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
