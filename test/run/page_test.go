//go:build integration

package run

import (
	"bytes"
	"context"
	"flag"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/twinfleet/twinfleet/test/rig"
)

var screenshots = flag.Bool("screenshots", false, "keep the pictures that the documents show")

// browser is a headless Chromium that notes what goes wrong in a page and what the page asks for.
type browser struct {
	context.Context
	watch sync.WaitGroup
	stop  context.CancelFunc

	mu       sync.Mutex // protects the following fields
	problems []string
}

type step = chromedp.Action[chromedp.Void]

func newBrowser(t testing.TB, width, height int) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(rig.Program(t, "chromium")), chromedp.NoSandbox,
		chromedp.WindowSize(width, height),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{Context: ctx}
	watching, stop := context.WithCancel(ctx)
	b.stop = stop
	console, requests := chromedp.Console(watching), chromedp.Events(watching, network.RequestWillBeSent)
	b.watch.Go(func() {
		for m, err := range console {
			if err == nil && (m.IsException() || m.Type == "error" || m.Type == "warning") {
				b.note("in the page: " + m.String())
			}
		}
	})
	b.watch.Go(func() {
		for e, err := range requests {
			if err != nil {
				return
			}
			if u := e.Request.URL; !strings.HasPrefix(u, "http://127.0.0.1:") && !strings.HasPrefix(u, "file://") && !strings.HasPrefix(u, "data:") {
				b.note("the page asked for " + u)
			}
		}
	})
	// The browser lives as long as the context of the first call; that has no end of its own.
	if err := chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
		return err
	})); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	return b
}

func (b *browser) note(problem string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, problem)
}

func (b *browser) do(t testing.TB, what string, steps ...step) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// until waits until an expression is true in the page. A page that is on its way takes what was asked of the one before with it:
// then it is asked again.
func until(expression string) step {
	poll := chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		for {
			v, err := poll(ctx, target)
			if err == nil || ctx.Err() != nil || !leftBehind(err) {
				return v, err
			}
		}
	}
}

// leftBehind reports whether an error is that of an execution context whose page is gone.
func leftBehind(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "cannot find context") || strings.Contains(text, "execution context was destroyed")
}

// expected takes what a test has brought about from what went wrong in the page: a message that holds a text, once.
func (b *browser) expected(t *testing.T, text string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.problems, func(p string) bool { return strings.Contains(p, text) })
	if i < 0 {
		t.Errorf("the page did not say %q", text)
		return
	}
	b.problems = slices.Delete(b.problems, i, i+1)
}

// clean fails the test for everything that went wrong in the page.
func (b *browser) clean(t *testing.T) {
	t.Helper()
	b.stop()
	b.watch.Wait()
	for _, p := range b.problems {
		t.Error(p)
	}
}

// picture takes a picture of what the window shows, and keeps it for the documents when that is wanted.
func (b *browser) picture(t *testing.T, name string) image.Image {
	t.Helper()
	shot, err := chromedp.Run(b, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if *screenshots && name != "" {
		if err := os.WriteFile(filepath.Join(rig.Root(), "docs", "images", name), shot, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// visible waits until the page shows a text.
func visible(text string) step { return until(`document.body.innerText.includes("` + text + `")`) }

func badge(state string) step {
	return until(`document.getElementById("badge").textContent === "` + state + `"`)
}

// drawn says how many pixels have the colours of two lines of charts: devices that are connected, and what they report.
func drawn(img image.Image) int {
	n := 0
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			if near(img.At(x, y), color.RGBA{0x00, 0x6f, 0x47, 255}) || near(img.At(x, y), color.RGBA{0xb2, 0x3a, 0x00, 255}) {
				n++
			}
		}
	}
	return n
}

// The live page in a real browser: charts are drawn as the run goes on, and its buttons pause, resume, go to the
// next stage and stop.
func TestLivePage(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	p := rig.Start(t, dir, nil, binary, "run", scenarioFile("connectivity"), "--metrics-addr", "", "--ui-addr", "127.0.0.1:0",
		"--set", "fleet.groups.robots.count=300", "--set", "fleet.groups.robots.reported.every=2s",
		"--set", "stages.ramp={name: ramp, duration: 5s, devices: 300}", "--set", "stages.hold.duration=5m", "--set", "thresholds={}")
	line := p.Line(t, "live page at ", 30*time.Second)
	address := line[strings.Index(line, "http://"):]
	b := newBrowser(t, 1280, 1000)
	b.do(t, "opening the page", chromedp.Navigate(address), badge("running"), visible("Devices by state"))
	b.do(t, "all devices", until(`document.querySelector("#devices b").textContent === "300 of 300"`))
	b.do(t, "some seconds of charts", until(`document.querySelectorAll(".uplot canvas").length >= 3`))
	p.Line(t, "report p50", 30*time.Second)
	p.Line(t, "report p50", 30*time.Second)
	if n := drawn(b.picture(t, "live.png")); n < 300 {
		t.Errorf("the charts have %d pixels of their lines", n)
	}
	b.do(t, "pausing", chromedp.Click(chromedp.CSS("#pause")), visible("is never PASSED"), chromedp.Click(chromedp.CSS("#ask-yes")), badge("paused"))
	p.Line(t, "the load was paused by hand", 10*time.Second)
	b.do(t, "resuming with the keyboard", chromedp.Focus(chromedp.CSS("#pause")), chromedp.KeyEvent("\r"), badge("running"))
	p.Line(t, "the load goes on", 10*time.Second)
	b.do(t, "another load", chromedp.Click(chromedp.CSS("#change")), chromedp.SetValue(chromedp.CSS("#load-devices"), "200"),
		chromedp.Focus(chromedp.CSS("#load-devices")), chromedp.KeyEvent("\r"),
		visible("The load was changed by hand: to 200 devices."), until(`document.querySelector("#devices b").textContent === "200 of 200"`), visible("Cannot say"))
	p.Line(t, "the load was changed by hand", 10*time.Second)
	b.do(t, "a page without the token", chromedp.Navigate(strings.SplitN(address, "#", 2)[0]), badge("running"),
		until(`document.getElementById("stop").disabled`))
	b.do(t, "the page again", chromedp.Navigate("about:blank"), chromedp.Navigate(address), badge("running"), chromedp.Click(chromedp.CSS("#stop")),
		chromedp.Click(chromedp.CSS("#ask-yes")), badge("interrupted"), until(`document.getElementById("save").checkVisibility()`))
	if code := p.Wait(t, time.Minute); code != 130 {
		t.Errorf("the run ended with %d", code)
	}
	// The program is gone; the page has taken its report along, and shows how far the stage came.
	b.do(t, "the page of a run that is over", visible("its program has ended"), visible("cut short"), chromedp.Evaluate[chromedp.Void](`document.getElementById("tab-events").click()`),
		until(`document.querySelectorAll("#panel-events tbody tr").length >= 3`), visible("Save the report"))
	b.clean(t)
}

// The report in a real browser, opened from disk, on a phone too: nothing fails, nothing is fetched, charts are drawn.
func TestReportPage(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	p := rig.Start(t, dir, nil, binary, "run", scenarioFile("smoke"), "--metrics-addr", "", "--no-ui", "--set", "stages.hold.duration=20s",
		"--set", "thresholds.twin_report=[\"error_rate < 1%\", \"p(99) < 250ms\"]", "--allow-saturated")
	p.Wait(t, time.Minute)
	address := "file://" + filepath.Join(theRecord(t, filepath.Join(dir, "runs")), "report.html")
	for name, width := range map[string]int{"report.png": 1280, "": 390} {
		b := newBrowser(t, width, 1000)
		b.do(t, "opening the report", chromedp.Navigate(address), visible("Devices by state"))
		if name != "" {
			b.picture(t, name)
		}
		b.do(t, "its charts", chromedp.Evaluate[chromedp.Void](`document.getElementById("charts").scrollIntoView()`), until(`document.querySelectorAll(".uplot canvas").length >= 4`))
		if name != "" {
			if n := drawn(b.picture(t, "")); n < 300 {
				t.Errorf("the charts have %d pixels of their lines", n)
			}
		}
		wide, err := chromedp.Run(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth + 1`))
		if err != nil {
			t.Fatal(err)
		}
		if wide {
			t.Errorf("at %d pixels the page is wider than the window", width)
		}
		b.clean(t)
	}
}
