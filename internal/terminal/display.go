package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/twinfleet/twinfleet/internal/terminal/plain"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/internal/terminal/view"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/progress"
)

// Screen is the terminal that a Display draws on.
type Screen struct {
	Out   *os.File // the terminal
	In    *os.File // whose echo is switched off meanwhile; nil for none
	Color bool     // whether it shows colours
	Env   []string // "NAME=value"; the terminal's kind is looked up in it
}

// Display draws a run in place. Events, figures and log lines are taken without waiting for the terminal: a
// slow one must not hold up what is measured. It is safe for concurrent use until Close.
type Display struct {
	runstate.Spectator

	program *tea.Program
	out     *os.File
	style   color.Style
	echo    func() // gives the terminal its echo back
	began   time.Time

	mu    sync.Mutex // protects the following fields
	state runstate.State
	above []string // lines that have yet to be printed above the view
	lost  int      // lines that found no room there

	wake    chan struct{}
	done    chan struct{} // closed by Close
	closing sync.Once
	ended   sync.WaitGroup
	err     error // of the program
}

const (
	// redrawEvery is how often clock and progress are drawn; figures come once a second.
	redrawEvery = 250 * time.Millisecond
	// maxAbove bounds the lines that wait for a terminal which is slow to take them.
	maxAbove = 1000
)

// Start takes the terminal over until Close. Signals and the keyboard are left to the caller: Ctrl-C is a
// signal as ever.
func Start(screen Screen, plan runstate.Plan) *Display {
	d := &Display{
		out: screen.Out, style: color.Style{Color: screen.Color}, began: time.Now(), state: runstate.State{Plan: plan},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	profile := colorprofile.NoTTY
	if screen.Color {
		profile = colorprofile.ANSI
	}
	d.echo = quiet(screen.In)
	d.program = tea.NewProgram(model{color: screen.Color, state: d.state.Clone()},
		tea.WithInput(nil), tea.WithOutput(screen.Out), tea.WithEnvironment(screen.Env), tea.WithoutSignalHandler(),
		tea.WithColorProfile(profile), tea.WithFPS(20))
	d.ended.Go(func() { _, d.err = d.program.Run() })
	d.ended.Go(d.pump)
	return d
}

// pump hands the program what there is to draw, until Close.
func (d *Display) pump() {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		over := false
		select {
		case <-tick.C:
		case <-d.wake:
		case <-d.done:
			over = true
		}
		d.mu.Lock()
		above, lost := d.above, d.lost
		d.above, d.lost = nil, 0
		if d.state.Figures() != nil { // the clock begins with the run
			d.state.At = max(d.state.At, time.Since(d.began))
		}
		frame := d.state.Clone()
		d.mu.Unlock()
		if lost > 0 {
			above = append(above, fmt.Sprintf("%d lines were left out: the terminal is slow", lost))
		}
		// One by one: the program makes room by scrolling, and beside the view there is room for one.
		for _, line := range d.wrap(above) {
			d.program.Send(tea.Println(line)())
		}
		if over {
			d.program.Send(last{})
			d.program.Quit()
			return
		}
		d.program.Send(frame)
	}
}

// wrap breaks lines that are too long for the terminal, less the last column: the program counts a line as one, and
// blanks what is right of it.
func (d *Display) wrap(lines []string) []string {
	width, _, err := term.GetSize(int(d.out.Fd()))
	if len(lines) == 0 || err != nil || width < 2 {
		return lines
	}
	return strings.Split(ansi.Hardwrap(strings.Join(lines, "\n"), width-1, true), "\n")
}

// Event tells what happened. What a reader may want to find later stays above the view.
func (d *Display) Event(e report.Event) {
	d.mu.Lock()
	d.state.Event(e)
	if e.Kind == report.KindStep || e.Kind == report.KindWarning {
		d.print(plain.Event(e, d.style))
	}
	d.mu.Unlock()
	d.poke()
}

// Sample tells the figures of another second.
func (d *Display) Sample(p report.Sample) {
	d.mu.Lock()
	d.state.Sample(p)
	d.mu.Unlock()
	d.poke()
}

// Write prints log lines above the view.
func (d *Display) Write(b []byte) (int, error) {
	d.mu.Lock()
	d.print(string(b))
	d.mu.Unlock()
	d.poke()
	return len(b), nil
}

// print keeps lines for the space above the view; d.mu is held.
func (d *Display) print(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if len(d.above) == maxAbove {
			d.lost++
			continue
		}
		d.above = append(d.above, line)
	}
}

func (d *Display) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Close takes the view away and gives the terminal back. What was printed above the view stays. A second
// Close does nothing.
func (d *Display) Close() error {
	d.closing.Do(func() {
		close(d.done)
		d.ended.Wait()
		d.echo()
	})
	if d.err != nil && !errors.Is(d.err, io.EOF) {
		return fmt.Errorf("drawing on the terminal: %w", d.err)
	}
	return nil
}

// model is what the program draws.
type model struct {
	state         *runstate.State
	width, height int
	color, over   bool
}

// last asks for an empty view.
type last struct{}

func (m model) Init() tea.Cmd { return nil }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case *runstate.State:
		before := m.state.Figures()
		m.state = msg
		if m.width > 0 && m.width < view.MinWidth && msg.Figures() != before && msg.Latest() != nil {
			// No room to draw: the figures are lines.
			if msg.Waiting > 0 {
				return m, tea.Println(progress.WaitingLine(msg.Figures().Elapsed, msg.Waiting, msg.Left))
			}
			return m, tea.Println(progress.Line(msg.StageName(), msg.Figures(), msg.Latest()))
		}
	case last:
		m.over = true
	}
	return m, nil
}

func (m model) View() tea.View {
	v := tea.View{DisableBracketedPasteMode: true}
	if !m.over {
		v.SetContent(view.Draw(m.state, m.width, m.height, m.color))
	}
	return v
}
