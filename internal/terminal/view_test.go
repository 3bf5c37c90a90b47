package terminal

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/twinfleet/twinfleet/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s (%v):\n%s", name, err, got)
	}
}

// What a person sees in the usual sizes, at the beginning, in the middle and with more than fits.
func TestView(t *testing.T) {
	opening := &State{Plan: plan()}
	making := &State{Plan: plan()}
	making.Event(report.Event{At: 100 * time.Millisecond, Kind: report.KindTarget, Text: "target", Detail: "embedded hub", OK: true})
	making.Event(report.Event{At: 200 * time.Millisecond, Kind: report.KindProvision, Text: "identities made", OK: true, Done: 1200, Total: 3300})
	for name, s := range map[string]*State{
		"opening": opening, "making": making, "ramp": stateAt(plan(), 12), "hold": stateAt(plan(), 40),
		"large": stateAt(large(), 40),
	} {
		for _, size := range [][2]int{{80, 24}, {200, 50}} {
			golden(t, fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), View(s, size[0], size[1], false)+"\n")
		}
	}
	golden(t, "hold-color-80x24", View(stateAt(plan(), 40), 80, 24, true)+"\n")
}

// In whatever size, no line is wider and there are not more of them than there is room for; colours take no room.
func TestViewFits(t *testing.T) {
	states := []*State{{Plan: plan()}, {Plan: Plan{Name: "x"}}, stateAt(plan(), 2), stateAt(plan(), 50), stateAt(large(), 50)}
	bad := stateAt(plan(), 30)
	bad.Event(report.Event{Kind: "warning", Text: "evil\x1b[2J\n\ttext", Detail: strings.Repeat("长い", 200)})
	for i, s := range append(states, bad) {
		for width := MinWidth; width < 240; width += 23 {
			for _, height := range []int{3, 4, 5, 8, 10, 15, 19, 23, 24, 30, 60} {
				text := View(s, width, height, false)
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
				if colored := View(s, width, height, true); ansi.Strip(colored) != text {
					t.Errorf("state %d at %dx%d: colours change the text", i, width, height)
				}
			}
		}
	}
	if View(bad, MinWidth-1, 24, false) != "" {
		t.Error("a view that is too narrow")
	}
}

// A State is a function of what it was told; a copy does not follow.
func TestStateIsCopied(t *testing.T) {
	s := stateAt(plan(), 20)
	c := s.clone()
	before := View(c, 100, 30, false)
	s.Event(report.Event{At: time.Minute, Kind: "warning", Text: "later"})
	play(plan(), 40, s.Event, s.Sample)
	if View(c, 100, 30, false) != before {
		t.Error("the copy changed")
	}
	if View(s, 100, 30, false) == before {
		t.Error("the state did not change")
	}
}

// What is kept is bounded, however long a run is.
func TestStateIsBounded(t *testing.T) {
	s := &State{Plan: plan()}
	for range 20 {
		play(plan(), 50, s.Event, s.Sample)
	}
	if len(s.history) > historyLength || len(s.events) > keptEvents || len(s.recent) > windowLength {
		t.Errorf("%d seconds, %d events, %d intervals", len(s.history), len(s.events), len(s.recent))
	}
}

func BenchmarkView(b *testing.B) {
	s := stateAt(plan(), 60)
	for b.Loop() {
		View(s, 200, 50, true)
	}
}

// After the last stage its clock stands still, and the wait for answers is what is shown.
func TestViewOfTheWait(t *testing.T) {
	s := stateAt(plan(), 60)
	began := s.Began
	s.Event(report.Event{At: began + 30*time.Second, Kind: report.KindStopping, Text: "stopping", OK: true})
	s.Sample(report.Sample{At: began + 42*time.Second, Total: s.total, Window: s.recent[0], Waiting: 1234, Left: 18 * time.Second})
	text := View(s, 100, 24, false)
	for _, want := range []string{"✓ hold 30.0s", "waiting for answers: 1,234, at most 18.0s more; Ctrl-C ends the wait"} {
		if !strings.Contains(text, want) {
			t.Errorf("the view lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "▸") || s.stageName() != "" {
		t.Errorf("a stage runs:\n%s", text)
	}
}
