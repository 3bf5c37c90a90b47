//go:build linux

package terminal

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/twinfleet/twinfleet/internal/terminal/terminaltest"
	"github.com/twinfleet/twinfleet/internal/terminal/view"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/test/rig"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func screenOf(t *rig.Terminal, color bool) Screen {
	return Screen{Out: t.Tty, In: t.Tty, Color: color, Env: []string{"TERM=xterm-256color"}}
}

// still keeps a display's clock where the figures put it, so that what it draws can be foreseen.
func still(d *Display) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began = time.Now().Add(time.Hour)
}

// In a pseudo-terminal the display is the view, to the letter; afterwards the screen is as it was before, with
// what was printed above the view.
func TestDisplay(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {200, 50}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			term := rig.NewTerminal(t, size[0], size[1])
			fmt.Fprintf(term.Tty, "$ twinfleet run\n")
			term.Until(t, "the prompt", patience, rig.Shows("$ twinfleet run"))
			d := Start(screenOf(term, false), terminaltest.Plan())
			still(d)
			terminaltest.Play(terminaltest.Plan(), 40, d.Event, d.Sample)
			want, err := os.ReadFile(fmt.Sprintf("view/testdata/hold-%dx%d.golden", size[0], size[1]))
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimRight(string(want), "\n"), "\n")
			for i := range lines {
				lines[i] = strings.TrimRight(lines[i], " ")
			}
			shows := func(screen []string) bool {
				return len(screen) >= len(lines) && slices.Equal(screen[len(screen)-len(lines):], lines)
			}
			term.Until(t, "the view", patience, shows)
			if !term.CursorHidden() {
				t.Error("the cursor is in the picture")
			}
			long := strings.Repeat("0123456789", 45)
			fmt.Fprintf(d, "level=WARN msg=\"something\"\n%s\n", long)
			term.Until(t, "the log line above the view", patience, func(screen []string) bool {
				all := append(term.History(), screen...)
				return shows(screen) && slices.Contains(all, "level=WARN msg=\"something\"") && strings.Contains(strings.Join(all, ""), long)
			})
			term.TypeLine(t, "typed blindly\x1b[A", patience)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(term.Tty, "  PASSED  connectivity")
			term.Until(t, "the summary", patience, rig.Shows("PASSED"))
			all := append(term.History(), term.Screen()...)
			if got, want := strings.Join(all, ""), "$ twinfleet run"+"level=WARN msg=\"something\""+long+"  PASSED  connectivity"; got != want {
				t.Errorf("afterwards the screen is\n%s\nwant\n%s", strings.Join(all, "\n"), want)
			}
			if term.CursorHidden() {
				t.Error("the cursor is hidden afterwards")
			}
			for _, asked := range []string{"\x1b[c", "\x1b[6n", "$p", "\x1b[?1049h", "\x1b[?2004h"} {
				if strings.Contains(term.Raw(), asked) {
					t.Errorf("the terminal was asked or told %q", asked)
				}
			}
		})
	}
}

// The window changes its size in the middle of a run, down to where nothing can be drawn and back.
func TestDisplayFollowsTheWindow(t *testing.T) {
	term := rig.NewTerminal(t, 100, 30)
	d := Start(screenOf(term, true), terminaltest.Plan())
	still(d)
	terminaltest.Play(terminaltest.Plan(), 20, d.Event, d.Sample)
	term.Until(t, "the view", patience, rig.Shows("2,000 of"))
	for _, size := range [][2]int{{140, 40}, {70, 20}, {50, 20}, {90, 24}} {
		term.Resize(t, size[0], size[1])
		// The test's terminal is not this process's own, so that the kernel does not tell it.
		d.program.Send(sized(size[0], size[1]))
		terminaltest.Play(terminaltest.Plan(), 20, func(report.Event) {}, d.Sample)
		if size[0] < view.MinWidth {
			term.Until(t, "plain lines", patience, rig.Shows("ramp          "))
			continue
		}
		term.Until(t, "the view in its new width", patience, func(screen []string) bool {
			return slices.ContainsFunc(screen, func(line string) bool {
				return strings.HasPrefix(line, " connectivity") && strings.HasSuffix(line, "of 1m00s") && len([]rune(line)) == size[0]-1
			})
		})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// Nothing waits for a terminal that does not take what is written.
func TestDisplayDoesNotWaitForTheTerminal(t *testing.T) {
	term := rig.NewTerminal(t, 80, 24)
	d := Start(screenOf(term, false), terminaltest.Plan())
	if err := unix.IoctlSetInt(int(term.Tty.Fd()), unix.TCXONC, unix.TCOOFF); err != nil { // Ctrl-S
		t.Fatal(err)
	}
	for i := range 5 * maxAbove {
		fmt.Fprintf(d, "line %d\n", i)
	}
	terminaltest.Play(terminaltest.Plan(), 40, d.Event, d.Sample)
	if err := unix.IoctlSetInt(int(term.Tty.Fd()), unix.TCXONC, unix.TCOON); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(term.Tty, "after")
	term.Until(t, "the end", patience, rig.Shows("after"))
	if !slices.ContainsFunc(append(term.History(), term.Screen()...), func(line string) bool { return strings.Contains(line, "lines were left out") }) {
		t.Error("lines were left out without a word")
	}
}

// Echo is off while a display draws, Ctrl-C stays a signal, and all is as before afterwards.
func TestEcho(t *testing.T) {
	term := rig.NewTerminal(t, 80, 24)
	get := func() unix.Termios {
		s, err := unix.IoctlGetTermios(int(term.Tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	before := get()
	d := Start(screenOf(term, false), terminaltest.Plan())
	if during := get(); during.Lflag&unix.ECHO != 0 || during.Lflag&unix.ISIG == 0 || during.Lflag&unix.ICANON == 0 {
		t.Errorf("flags %x", during.Lflag)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if after := get(); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
	quiet(nil)()
	if f, err := os.Open(os.DevNull); err != nil {
		t.Fatal(err)
	} else {
		quiet(f)()
		f.Close()
	}
}

// sized is what a program is told when its window has another size.
func sized(width, height int) tea.Msg { return tea.WindowSizeMsg{Width: width, Height: height} }
