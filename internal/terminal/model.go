package terminal

import (
	tea "charm.land/bubbletea/v2"

	"github.com/twinfleet/twinfleet/internal/terminal/plain"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/view"
)

// model is what the program draws.
type model struct {
	screen        Screen
	controls      Controls
	ui            *view.UI
	state         *runstate.State
	width, height int
	hidden, over  bool
}

// What the program is told beside states and sizes.
type (
	last   struct{}      // that there is no more to draw
	hidden bool          // whether the view is to be empty for a while
	seen   chan struct{} // closed when all that came before has been drawn
	key    string        // that was pressed, by its name
)

func (m model) Init() tea.Cmd { return nil }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case *runstate.State:
		before := m.state.Figures()
		m.state = msg
		if m.width > 0 && m.width < view.MinWidth && !m.screen.Alternate && msg.Figures() != before && msg.Latest() != nil {
			return m, tea.Println(plain.Sample(msg.LastSample())) // no room to draw: the figures are lines
		}
	case key:
		m.press(string(msg))
	case hidden:
		m.hidden = bool(msg)
	case seen:
		close(msg)
	case last:
		m.over = true
	}
	return m, nil
}

// press does what a key asks for.
func (m model) press(name string) {
	action := m.ui.Press(name, m.state)
	switch {
	case action == view.Stop && m.controls.Stop != nil:
		m.controls.Stop()
	case (action == view.Pause || action == view.Resume) && m.controls.Pause != nil:
		m.controls.Pause(action == view.Pause)
	}
}

// defaultShape is the cursor as the user has it: Bubble Tea makes the number 0 of it, which it takes for no change, and so leaves
// nothing that a killed program could not take back.
const defaultShape = tea.CursorShape(-1)

func (m model) View() tea.View {
	v := tea.View{DisableBracketedPasteMode: true, AltScreen: m.screen.Alternate && !m.over && !m.hidden}
	// The cursor is never hidden: whoever is killed cannot show it.
	v.Cursor = &tea.Cursor{Shape: defaultShape}
	if !m.over && !m.hidden {
		text := view.Draw(m.state, m.ui, m.width, m.height, m.screen.Color)
		v.SetContent(text)
		v.Cursor.X, v.Cursor.Y = view.Cursor(text, m.width)
	}
	return v
}
