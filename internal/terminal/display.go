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
)

// Screen is the terminal that a Display draws on.
type Screen struct {
	Out       *os.File // the terminal
	In        *os.File // that keys are read from; nil for none
	Color     bool     // whether it shows colours
	Alternate bool     // to draw on the alternate screen: what was there comes back afterwards
	Env       []string // "NAME=value"; the terminal's kind is looked up in it
}

// Controls are what keys do to the run. They are called by whoever draws, must be quick, and may be called at any time until Close.
type Controls struct {
	Stop  func()            // as Ctrl-C: politely, and at once when called once more
	Pause func(paused bool) // stops what devices do on their schedules, or lets it go on
}

// Display draws a run in place. Events, figures and log lines are taken without waiting for the terminal: a
// slow one must not hold up what is measured. It is safe for concurrent use until Close.
type Display struct {
	runstate.Spectator

	program *tea.Program
	screen  Screen
	style   color.Style
	keys    *tty // nil when none are read
	guard   *guard
	began   time.Time

	mu    sync.Mutex // protects the following fields
	state runstate.State
	above []string // lines that have yet to be printed above the view
	lost  int      // lines that found no room there

	wake    chan struct{}
	done    chan struct{} // closed by Close
	closing sync.Once
	drawing sync.WaitGroup // the program, and who hands it what to draw
	reading sync.WaitGroup // who reads keys
	err     error          // of the program
	away    bool           // the terminal was given back, or taken away; the pump's until drawing ends
}

const (
	// redrawEvery is how often clock and progress are drawn; figures come once a second.
	redrawEvery = 250 * time.Millisecond
	// maxAbove bounds the lines that wait for a terminal which is slow to take them, or for the end of the alternate screen.
	maxAbove = 1000
)

// Start takes the terminal over until Close. Signals are left to the caller, but for Ctrl-Z: Ctrl-C is a signal as ever.
func Start(screen Screen, plan runstate.Plan, controls Controls) *Display {
	d := &Display{
		screen: screen, style: color.Style{Color: screen.Color}, began: time.Now(), state: runstate.State{Plan: plan},
		wake: make(chan struct{}, 1), done: make(chan struct{}), keys: openTTY(screen.In),
	}
	profile := colorprofile.NoTTY
	if screen.Color {
		profile = colorprofile.ANSI
	}
	d.guard = newGuard(screen, d.keys)
	d.keys.hold()
	d.guard.watch()
	ui := &view.UI{Keys: d.keys != nil && canRead}
	d.program = tea.NewProgram(model{screen: screen, controls: controls, ui: ui, state: d.state.Clone()},
		tea.WithInput(nil), tea.WithOutput(screen.Out), tea.WithEnvironment(screen.Env), tea.WithoutSignalHandler(),
		tea.WithColorProfile(profile), tea.WithFPS(20))
	d.drawing.Go(func() { _, d.err = d.program.Run() })
	d.drawing.Go(d.pump)
	if d.keys != nil {
		d.reading.Go(d.read)
	}
	return d
}

// read hands the program what keys are pressed.
func (d *Display) read() {
	var keys decoder
	d.keys.read(func(b []byte) {
		for _, name := range keys.feed(b) {
			d.program.Send(key(name))
		}
	})
}

// pump hands the program what there is to draw, until Close. In the background of a shell nothing is drawn.
func (d *Display) pump() {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	stops, ignore := suspensions()
	defer ignore()
	for {
		over := false
		select {
		case <-tick.C:
		case <-d.wake:
		case <-d.done:
			over = true
		case <-stops:
			d.leave()
			suspend()
		}
		switch background := Background(d.screen.Out); {
		case background:
			d.leave()
		case d.away:
			d.back()
		}
		if d.away && !over {
			continue
		}
		if d.away { // all that may be done is to end
			d.program.Kill()
			return
		}
		above, frame := d.take()
		d.printAbove(above)
		if over {
			d.program.Send(last{})
			d.program.Quit()
			return
		}
		d.program.Send(frame)
	}
}

// leave wipes the view and gives the terminal back for a while; what another has in the foreground already is left alone.
func (d *Display) leave() {
	if d.away {
		return
	}
	d.away = true
	d.program.Send(hidden(true))
	drawn := make(seen)
	d.program.Send(drawn) // once this is taken the wiped view has been drawn
	select {
	case <-drawn:
	case <-d.done:
	}
	_ = d.program.ReleaseTerminal()
	if !Background(d.screen.Out) {
		d.keys.give()
	}
}

// back takes the terminal over once more.
func (d *Display) back() {
	d.away = false
	d.keys.hold()
	_ = d.program.RestoreTerminal()
	d.program.Send(hidden(false))
}

// take is the lines that are to be printed above the view, and what it is to show.
func (d *Display) take() (above []string, frame *runstate.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.screen.Alternate { // else they wait for its end
		if above = d.above; d.lost > 0 {
			above = append(above, fmt.Sprintf("%d lines were left out: the terminal is slow", d.lost))
		}
		d.above, d.lost = nil, 0
	}
	if d.state.Figures() != nil { // the clock begins with the run
		d.state.At = max(d.state.At, time.Since(d.began))
	}
	return above, d.state.Clone()
}

// printAbove prints lines above the view. One by one: the program makes room by scrolling, and beside the view there is room for one.
func (d *Display) printAbove(lines []string) {
	for _, line := range d.wrap(lines) {
		d.program.Send(tea.Println(line)())
	}
}

// wrap breaks lines that are too long for the terminal, less the last column: the program counts a line as one, and
// blanks what is right of it.
func (d *Display) wrap(lines []string) []string {
	width, _, err := term.GetSize(int(d.screen.Out.Fd()))
	if len(lines) == 0 || err != nil || width < 2 {
		return lines
	}
	return strings.Split(ansi.Hardwrap(strings.Join(lines, "\n"), width-1, true), "\n")
}

// Event tells what happened. What a reader may want to find later stays above the view.
func (d *Display) Event(e report.Event) {
	d.mu.Lock()
	d.state.Event(e)
	switch e.Kind {
	case report.KindStep, report.KindWarning, report.KindPaused, report.KindResumed, report.KindChanged:
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
		d.keys.stop()
		d.reading.Wait()
		close(d.done)
		d.drawing.Wait()
		if !d.away { // else it is another's
			d.keys.give()
		}
		d.guard.dismiss()
		d.keys.close()
		if len(d.above) > 0 { // of the alternate screen, or of one that was another's
			fmt.Fprintln(d.screen.Out, strings.Join(d.above, "\n"))
		}
	})
	if d.err != nil && !errors.Is(d.err, io.EOF) && !errors.Is(d.err, tea.ErrProgramKilled) {
		return fmt.Errorf("drawing on the terminal: %w", d.err)
	}
	return nil
}
