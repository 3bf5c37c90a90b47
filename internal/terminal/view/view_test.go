package view_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/terminaltest"
	"github.com/twinfleet/twinfleet/internal/terminal/view"
	"github.com/twinfleet/twinfleet/report"
)

// What a person sees in the usual sizes and in a tiny one, in every condition of a run.
func TestView(t *testing.T) {
	worlds := terminaltest.Worlds()
	worlds["large"] = func() *runstate.State { return terminaltest.StateAt(terminaltest.Large(), 40) }
	for name, make := range worlds {
		s := make()
		for _, size := range [][2]int{{80, 24}, {200, 50}, {40, 10}} {
			terminaltest.Golden(t, fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), view.Draw(s, &view.UI{Keys: true}, size[0], size[1], false)+"\n")
		}
	}
	terminaltest.Golden(t, "missing-color-80x24", view.Draw(worlds["missing"](), &view.UI{Keys: true}, 80, 24, true)+"\n")
	terminaltest.Golden(t, "holding-keyless-80x24", view.Draw(worlds["holding"](), &view.UI{}, 80, 24, false)+"\n")
}

// In whatever size, no line is wider and there are not more of them than there is room for; colours take no room, and say nothing
// that the text does not.
func TestViewFits(t *testing.T) {
	states := []*runstate.State{{Plan: runstate.Plan{Name: "x"}}, terminaltest.StateAt(terminaltest.Plan(), 2), terminaltest.StateAt(terminaltest.Large(), 50)}
	for _, make := range terminaltest.Worlds() {
		states = append(states, make())
	}
	bad := terminaltest.StateAt(terminaltest.Plan(), 30)
	bad.Event(report.Event{Kind: "warning", Text: "evil\x1b[2J\n\ttext", Detail: strings.Repeat("長い", 200)})
	states = append(states, bad)
	for i, s := range states {
		for _, keys := range []string{"", "down enter", "? end", "q", "shift+tab"} {
			u := &view.UI{Keys: keys != ""}
			for key := range strings.FieldsSeq(keys) {
				u.Press(key, s)
			}
			for _, width := range []int{view.MinWidth, 80, 119, 160} {
				for _, height := range []int{3, 5, 10, 24, 60} {
					text := view.Draw(s, u, width, height, false)
					lines := strings.Split(text, "\n")
					if len(lines) != height-1 {
						t.Errorf("state %d, keys %q at %dx%d: %d lines", i, keys, width, height, len(lines))
					}
					for _, line := range lines {
						if w := ansi.StringWidth(line); w > width {
							t.Errorf("state %d, keys %q at %dx%d: %d columns: %q", i, keys, width, height, w, line)
						}
					}
					if strings.ContainsAny(text, "\x1b\t\r") {
						t.Errorf("state %d, keys %q: control characters in %q", i, keys, text)
					}
					if height == 24 && ansi.Strip(view.Draw(s, u, width, height, true)) != text {
						t.Errorf("state %d, keys %q at %dx%d: colours change the text", i, keys, width, height)
					}
					if x, y := view.Cursor(text, width); x < 0 || x >= width || y != height-2 {
						t.Errorf("state %d, keys %q at %dx%d: the cursor is at %d, %d", i, keys, width, height, x, y)
					}
				}
			}
		}
	}
	if view.Draw(bad, &view.UI{}, view.MinWidth-1, 24, false) != "" {
		t.Error("a view that is too narrow")
	}
}

// The five questions are answered by what is on the smallest of usual screens: did it hold, since when not, what fails and why, which
// group, can I believe it.
func TestFiveQuestions(t *testing.T) {
	worlds := terminaltest.Worlds()
	for world, wants := range map[string][]string{
		"holding":    {"✓ HOLDING", "✓ telemetry: error_rate < 1%", "3,080 of 3,300 devices", "✓ generator ok", "20.0s left"},
		"missing":    {"✗ MISSING  since 28.0s", "✗ telemetry: error_rate < 1%  4.2% (34 of 800)         since 33.0s"},
		"failing":    {"✗ FAILING  none of 312 twin_read worked: refused: 401 Unauthorized"},
		"cannot-say": {"? CANNOT SAY", "? generator, not to be believed: stage hold: 7,887 of 8,000", "cannot say"},
		"rollouts":   {"▸ firmware 2/3 to 50 %", "850 of 1,200 answered"},
		"groups":     {"plant-12     ✗", "plant-13     !", "telemetry timeout: no answer in time · plant-12", "telemetry        ✗"},
	} {
		text := view.Draw(worlds[world](), &view.UI{Keys: true}, 80, 24, false)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the view lacks %q:\n%s", world, want, text)
			}
		}
	}
}

// What has ended is below what goes on, and nothing is measured where nothing happened.
func TestEndedOperationsAreLast(t *testing.T) {
	s := terminaltest.Worlds()["groups"]()
	text := view.Draw(s, &view.UI{}, 200, 50, false)
	if ended, alive := strings.Index(text, "provision "), strings.Index(text, "query by-plant-4"); ended < alive {
		t.Errorf("what has ended is first:\n%s", text)
	}
	if strings.Contains(text, "0µs") {
		t.Errorf("nothing took 0µs:\n%s", text)
	}
	if text := view.Draw(s, &view.UI{}, 100, 32, false); !strings.Contains(text, "ended 5: ") && !strings.Contains(text, "ended 4: ") {
		t.Errorf("what has ended is not named in short:\n%s", text)
	}
}

// A State is a function of what it was told; a copy does not follow.
func TestStateIsCopied(t *testing.T) {
	s := terminaltest.StateAt(terminaltest.Plan(), 20)
	c, u := s.Clone(), &view.UI{}
	before := view.Draw(c, u, 100, 30, false)
	s.Event(report.Event{At: time.Minute, Kind: "warning", Text: "later"})
	terminaltest.Play(terminaltest.Plan(), 40, s.Event, s.Sample)
	if view.Draw(c, u, 100, 30, false) != before {
		t.Error("the copy changed")
	}
	if view.Draw(s, u, 100, 30, false) == before {
		t.Error("the state did not change")
	}
}

func BenchmarkView(b *testing.B) {
	s := terminaltest.StateAt(terminaltest.Plan(), 60)
	for b.Loop() {
		view.Draw(s, &view.UI{}, 200, 50, true)
	}
}

// After the last stage its clock stands still, and the wait for answers is what is shown.
func TestViewOfTheWait(t *testing.T) {
	s := terminaltest.StateAt(terminaltest.Plan(), 60)
	began := s.Began
	s.Event(report.Event{At: began + 30*time.Second, Kind: report.KindStopping, Text: "stopping", OK: true})
	s.Sample(report.Sample{At: began + 42*time.Second, Total: s.Figures(), Window: s.Latest(), Waiting: 1234, Left: 18 * time.Second})
	text := view.Draw(s, &view.UI{}, 100, 24, false)
	for _, want := range []string{"✓ hold 30.0s", "waiting for answers: 1,234, at most 18.0s more; Ctrl-C ends the wait"} {
		if !strings.Contains(text, want) {
			t.Errorf("the view lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "▸") || s.StageName() != "" {
		t.Errorf("a stage runs:\n%s", text)
	}
}
