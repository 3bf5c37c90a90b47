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

// What a person sees in the usual sizes, at the beginning, in the middle and with more than fits.
func TestView(t *testing.T) {
	opening := &runstate.State{Plan: terminaltest.Plan()}
	making := &runstate.State{Plan: terminaltest.Plan()}
	making.Event(report.Event{At: 100 * time.Millisecond, Kind: report.KindTarget, Text: "target", Detail: "embedded hub", OK: true})
	making.Event(report.Event{At: 200 * time.Millisecond, Kind: report.KindProvision, Text: "identities made", OK: true, Done: 1200, Total: 3300})
	for name, s := range map[string]*runstate.State{
		"opening": opening, "making": making, "ramp": terminaltest.StateAt(terminaltest.Plan(), 12), "hold": terminaltest.StateAt(terminaltest.Plan(), 40),
		"large": terminaltest.StateAt(terminaltest.Large(), 40),
	} {
		for _, size := range [][2]int{{80, 24}, {200, 50}} {
			terminaltest.Golden(t, fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), view.Draw(s, size[0], size[1], false)+"\n")
		}
	}
	terminaltest.Golden(t, "hold-color-80x24", view.Draw(terminaltest.StateAt(terminaltest.Plan(), 40), 80, 24, true)+"\n")
}

// In whatever size, no line is wider and there are not more of them than there is room for; colours take no room.
func TestViewFits(t *testing.T) {
	states := []*runstate.State{
		{Plan: terminaltest.Plan()},
		{Plan: runstate.Plan{Name: "x"}},
		terminaltest.StateAt(terminaltest.Plan(), 2),
		terminaltest.StateAt(terminaltest.Plan(), 50), terminaltest.StateAt(terminaltest.Large(), 50),
	}
	bad := terminaltest.StateAt(terminaltest.Plan(), 30)
	bad.Event(report.Event{Kind: "warning", Text: "evil\x1b[2J\n\ttext", Detail: strings.Repeat("长い", 200)})
	for i, s := range append(states, bad) {
		for width := view.MinWidth; width < 240; width += 23 {
			for _, height := range []int{3, 4, 5, 8, 10, 15, 19, 23, 24, 30, 60} {
				text := view.Draw(s, width, height, false)
				lines := strings.Split(text, "\n")
				if len(lines) != height-1 {
					t.Errorf("state %d at %dx%d: %d lines", i, width, height, len(lines))
				}
				for _, line := range lines {
					if w := ansi.StringWidth(line); w > width {
						t.Errorf("state %d at %dx%d: %d columns: %q", i, width, height, w, line)
					}
				}
				if strings.ContainsAny(text, "\x1b\t\r") {
					t.Errorf("state %d: control characters in %q", i, text)
				}
				if colored := view.Draw(s, width, height, true); ansi.Strip(colored) != text {
					t.Errorf("state %d at %dx%d: colours change the text", i, width, height)
				}
			}
		}
	}
	if view.Draw(bad, view.MinWidth-1, 24, false) != "" {
		t.Error("a view that is too narrow")
	}
}

// A State is a function of what it was told; a copy does not follow.
func TestStateIsCopied(t *testing.T) {
	s := terminaltest.StateAt(terminaltest.Plan(), 20)
	c := s.Clone()
	before := view.Draw(c, 100, 30, false)
	s.Event(report.Event{At: time.Minute, Kind: "warning", Text: "later"})
	terminaltest.Play(terminaltest.Plan(), 40, s.Event, s.Sample)
	if view.Draw(c, 100, 30, false) != before {
		t.Error("the copy changed")
	}
	if view.Draw(s, 100, 30, false) == before {
		t.Error("the state did not change")
	}
}

func BenchmarkView(b *testing.B) {
	s := terminaltest.StateAt(terminaltest.Plan(), 60)
	for b.Loop() {
		view.Draw(s, 200, 50, true)
	}
}

// After the last stage its clock stands still, and the wait for answers is what is shown.
func TestViewOfTheWait(t *testing.T) {
	s := terminaltest.StateAt(terminaltest.Plan(), 60)
	began := s.Began
	s.Event(report.Event{At: began + 30*time.Second, Kind: report.KindStopping, Text: "stopping", OK: true})
	s.Sample(report.Sample{At: began + 42*time.Second, Total: s.Figures(), Window: s.Latest(), Waiting: 1234, Left: 18 * time.Second})
	text := view.Draw(s, 100, 24, false)
	for _, want := range []string{"✓ hold 30.0s", "waiting for answers: 1,234, at most 18.0s more; Ctrl-C ends the wait"} {
		if !strings.Contains(text, want) {
			t.Errorf("the view lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "▸") || s.StageName() != "" {
		t.Errorf("a stage runs:\n%s", text)
	}
}
