package view_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/terminaltest"
	"github.com/twinfleet/twinfleet/internal/terminal/view"
	"github.com/twinfleet/twinfleet/report"
)

// press presses keys, and returns what the last one asked for.
func press(u *view.UI, s *runstate.State, keys ...string) (last view.Action) {
	for _, k := range keys {
		last = u.Press(k, s)
	}
	return last
}

// q asks, and only y stops.
func TestStopIsAskedFor(t *testing.T) {
	s := terminaltest.Worlds()["holding"]()
	for _, tt := range []struct {
		keys string
		want view.Action
	}{
		{"q", view.None},
		{"q y", view.Stop},
		{"q n", view.None},
		{"q n y", view.None},
		{"q q", view.None},
		{"q esc y", view.None},
		{"y", view.None},
		{"? q y", view.Stop},
		{"down enter q y", view.Stop},
		{"p", view.None},
		{"p y", view.Pause},
		{"p q", view.None},
	} {
		u := &view.UI{Keys: true}
		keys := strings.Fields(tt.keys)
		if got := press(u, s, keys...); got != tt.want {
			t.Errorf("%s: %v; want %v", tt.keys, got, tt.want)
		}
		asked := strings.Contains(view.Draw(s, u, 80, 24, false), "Stop the run?")
		if want := keys[len(keys)-1] == "q" && tt.keys != "q q" && tt.keys != "p q"; asked != want {
			t.Errorf("%s: asked: %v", tt.keys, asked)
		}
	}
}

// A pause that was asked for anywhere can be ended here.
func TestPauseGoesOn(t *testing.T) {
	s := terminaltest.StateAt(terminaltest.Plan(), 20)
	s.Event(report.Event{At: 20 * time.Second, Kind: report.KindPaused, Text: "the load was paused by hand", OK: true})
	if text := view.Draw(s, &view.UI{}, 80, 24, false); !strings.Contains(text, "PAUSED") {
		t.Errorf("it is not said that the run is paused:\n%s", text)
	}
	if got := press(&view.UI{}, s, "p"); got != view.Resume {
		t.Errorf("p: %v", got)
	}
	s.Event(report.Event{At: 21 * time.Second, Kind: report.KindResumed, Text: "the load goes on", OK: true})
	if got := press(&view.UI{}, s, "p", "y"); got != view.Pause {
		t.Errorf("p after that: %v", got)
	}
}

// Tab goes through the sections, arrows through rows: the picked row is on the screen, whatever there is no room for otherwise.
func TestPick(t *testing.T) {
	s := terminaltest.Worlds()["groups"]()
	for keys, want := range map[string]string{
		"down":                       "›telemetry ",
		"down down":                  "›method ",
		"down j j k":                 "›method ",
		"down end":                   "›twin_get ",
		"down end home":              "›telemetry ",
		"down pgdown":                "›subscribe ",
		"tab":                        "›✓ twin_report: p(99)",
		"tab tab":                    "›plant-12 ",
		"tab tab end":                "›plant-10 ",
		"tab tab tab tab":            "›       15  telemetry timeout",
		"tab tab tab tab tab":        "›  12.0s  stage hold",
		"tab tab tab tab tab tab":    "›✓ twin_report: p(99)",
		"shift+tab":                  "›  12.0s  stage hold",
		"shift+tab up":               "›  500ms  stage ramp",
		"tab tab down shift+tab tab": "›plant-13 ",
	} {
		u := &view.UI{Keys: true}
		press(u, s, strings.Fields(keys)...)
		if text := view.Draw(s, u, 80, 24, false); strings.Count(text, "›") != 1 || !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", keys, want, text)
		}
		press(u, s, "esc")
		if text := view.Draw(s, u, 80, 24, false); strings.Contains(text, "›") {
			t.Errorf("%s, Esc: a row is picked:\n%s", keys, text)
		}
	}
}

// A picked row stays picked when others go before it.
func TestPickFollowsTheRow(t *testing.T) {
	s, u := terminaltest.StateAt(terminaltest.Plan(), 20), &view.UI{Keys: true}
	press(u, s, "down", "down", "down")
	before := view.Draw(s, u, 80, 24, false)
	terminaltest.Play(terminaltest.Plan(), 40, s.Event, s.Sample)
	if text := view.Draw(s, u, 80, 24, false); !strings.Contains(before, "›telemetry") || !strings.Contains(text, "›telemetry") {
		t.Errorf("before\n%s\nthen\n%s", before, text)
	}
}

// Enter opens all that is known of a row; Esc goes back, one step at a time.
func TestDetail(t *testing.T) {
	worlds := terminaltest.Worlds()
	for _, tt := range []struct{ name, world, keys string }{
		{"operation", "groups", "down enter"},
		{"group", "groups", "tab tab enter"},
		{"threshold", "missing", "tab enter"},
		{"threshold-unsure", "cannot-say", "tab enter"},
		{"rollout", "rollouts", "tab tab enter"},
		{"agent", "agents", "tab tab enter"},
		{"failure", "missing", "shift+tab shift+tab enter"},
		{"event", "missing", "shift+tab enter"},
		{"help", "holding", "?"},
	} {
		s, u := worlds[tt.world](), &view.UI{Keys: true}
		press(u, s, strings.Fields(tt.keys)...)
		terminaltest.Golden(t, "detail-"+tt.name+"-80x24", view.Draw(s, u, 80, 24, false)+"\n")
		press(u, s, "esc", "esc")
		if got, want := view.Draw(s, u, 80, 24, false), view.Draw(s, &view.UI{Keys: true}, 80, 24, false); got != want {
			t.Errorf("%s, Esc twice:\n%s", tt.name, got)
		}
	}
}

// What is longer than the screen is scrolled, to its end and no further.
func TestDetailScrolls(t *testing.T) {
	s, u := terminaltest.Worlds()["groups"](), &view.UI{Keys: true}
	press(u, s, "?", "end", "end", "pgdown")
	text := view.Draw(s, u, 80, 12, false)
	if !strings.Contains(text, "http://127.0.0.1:9464/metrics") || strings.Contains(text, "below") {
		t.Errorf("the end of the help:\n%s", text)
	}
	press(u, s, "home")
	if text := view.Draw(s, u, 80, 12, false); !strings.Contains(text, "help") || !strings.Contains(text, "below") {
		t.Errorf("the beginning of the help:\n%s", text)
	}
}

// Keys do no harm before there is anything to pick.
func TestKeysBeforeTheRun(t *testing.T) {
	s := &runstate.State{Plan: runstate.Plan{Name: "x"}}
	u := &view.UI{Keys: true}
	press(u, s, "down", "enter", "tab", "enter", "up", "end", "shift+tab", "esc", "x", "enter")
	if text := view.Draw(s, u, 80, 24, false); !strings.Contains(text, "STARTING") {
		t.Errorf("%s", text)
	}
}
