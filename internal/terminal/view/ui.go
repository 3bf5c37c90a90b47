package view

import (
	"slices"

	"github.com/charmbracelet/x/ansi"

	"github.com/twinfleet/twinfleet/internal/terminal/layout"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
)

// UI is what a person has picked in the view. The zero value is nothing, without a keyboard.
type UI struct {
	Keys bool // keys are read

	focus  string            // the section that has the picked row; empty for none
	picks  map[string]string // the key of the picked row of each section
	open   bool              // the picked row's detail is shown
	help   bool              // the help is shown
	asks   Action            // what is to be confirmed
	scroll int               // lines of the detail, or of the help, that are above the screen
}

// Action is what a key asks of the run.
type Action int

// The actions.
const (
	None   Action = iota // nothing
	Stop                 // stop politely, as Ctrl-C does; at once when it stops already
	Pause                // stop what devices do on their schedules
	Resume               // let it go on
)

// page is how many rows a page key moves.
const page = 10

// Press takes in a key, by the name that Bubble Tea has for it, and says what it asks of the run.
func (u *UI) Press(key string, s *runstate.State) Action {
	if u.asks != None {
		asked := u.asks
		u.asks = None
		if key == "y" || key == "Y" {
			return asked
		}
		return None
	}
	switch key {
	case "q":
		u.asks = Stop
	case "p":
		switch {
		case s.Paused:
			return Resume
		case !s.Stopping:
			u.asks = Pause
		}
	case "?", "h":
		u.help, u.scroll = !u.help, 0
	case "esc", "left", "backspace":
		u.back()
	default:
		u.move(key, s)
	}
	return None
}

// back closes what is open: help, detail, then the picked row.
func (u *UI) back() {
	u.scroll = 0
	switch {
	case u.help:
		u.help = false
	case u.open:
		u.open = false
	default:
		u.focus = ""
	}
}

// steps is by how many rows a key moves; 0 for another key.
func steps(key string) int {
	switch key {
	case "up", "k":
		return -1
	case "down", "j":
		return 1
	case "pgup":
		return -page
	case "pgdown", "space":
		return page
	case "home", "g":
		return -1 << 20
	case "end", "G":
		return 1 << 20
	default:
		return 0
	}
}

// move moves the picked row, or what is shown of the help and the detail, opens it, and goes from section to section.
func (u *UI) move(key string, s *runstate.State) {
	v := view{State: s, ui: u, width: 80, height: 24}
	by := steps(key)
	switch {
	case (u.help || u.open) && by != 0:
		last := len(v.help()) - 1
		if !u.help {
			last = len(v.detail()) - 1
		}
		u.scroll = max(0, min(u.scroll+by, last))
		return
	case u.help:
		return
	}
	switch key {
	case "tab":
		u.turn(v, 1)
	case "shift+tab":
		u.turn(v, -1)
	case "enter", "right":
		if u.focus == "" {
			u.turn(v, 1)
			return
		}
		u.open, u.scroll = !u.open || key == "right", 0
	}
	if by == 0 {
		return
	}
	if u.focus == "" {
		u.focus = groups // the operations are next
		u.turn(v, 1)
		return
	}
	if section := v.section(u.focus); len(section.Rows) > 0 {
		u.pick(section, u.index(section)+by)
	}
}

// turn goes to another section that has rows.
func (u *UI) turn(v view, by int) {
	names := sectionNames()
	at := slices.Index(names, u.focus)
	if at < 0 && by < 0 {
		at = 0
	}
	u.open, u.scroll = false, 0
	for range names {
		at = (at + by + len(names)) % len(names)
		if section := v.section(names[at]); len(section.Rows) > 0 {
			u.focus = names[at]
			u.pick(section, u.index(section)) // it stays picked wherever it goes
			return
		}
	}
	u.focus = ""
}

// pick picks a row of a section: the nearest there is.
func (u *UI) pick(s layout.Section, at int) {
	if u.picks == nil {
		u.picks = make(map[string]string)
	}
	u.picks[s.Name] = s.Rows[max(0, min(at, len(s.Rows)-1))].Key
}

// index is the place of the picked row in its section: wherever it has moved since.
func (u *UI) index(s layout.Section) int {
	key, ok := u.picks[s.Name]
	at := slices.IndexFunc(s.Rows, func(r layout.Row) bool { return r.Key == key })
	if !ok || at < 0 {
		if s.Last {
			return len(s.Rows) - 1
		}
		return 0
	}
	return at
}

// question is what is asked now; empty for nothing.
func (u *UI) question() string {
	switch u.asks {
	case Stop:
		return "Stop the run? y yes, any other key no. The report is made; asked twice, it ends at once."
	case Pause:
		return "Pause the run? y yes, any other key no. A run that was paused never passes."
	default:
		return ""
	}
}

// hint is which keys there are, in a width.
func (u *UI) hint(width int) string {
	texts := []string{"q stop · p pause · ↑↓ pick · Tab section · Enter open · ? help", "q stop · ↑↓ pick · Enter open · ? help", "q stop · ↑↓ Tab Enter · ? help", "q stop · ? help"}
	if u.open || u.help {
		texts = []string{"↑↓ scroll · Esc back · q stop · ? help", "Esc back · ? help"}
	}
	// Half of the width is for addresses.
	for _, t := range texts {
		if ansi.StringWidth(t) <= max(width/2, min(width-2, 38)) {
			return t
		}
	}
	return texts[len(texts)-1]
}
