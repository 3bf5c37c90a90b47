//go:build linux

package terminal

import (
	"fmt"
	"os"
	"regexp"
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
			d := Start(screenOf(term, false), terminaltest.Plan(), Controls{})
			still(d)
			terminaltest.Play(terminaltest.Plan(), 40, d.Event, d.Sample)
			want, err := os.ReadFile(fmt.Sprintf("view/testdata/holding-%dx%d.golden", size[0], size[1]))
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
			if term.CursorHidden() {
				t.Error("the cursor is hidden: whoever is killed now cannot show it")
			}
			long := strings.Repeat("0123456789", 45)
			fmt.Fprintf(d, "level=WARN msg=\"something\"\n%s\n", long)
			term.Until(t, "the log line above the view", patience, func(screen []string) bool {
				all := append(term.History(), screen...)
				return shows(screen) && slices.Contains(all, "level=WARN msg=\"something\"") && strings.Contains(strings.Join(all, ""), long)
			})
			term.Type(t, "?")
			term.Until(t, "the help", patience, rig.Shows("stop the run, after a question"))
			term.Type(t, "\x1b\x1b[B")
			term.Until(t, "a picked row", patience, rig.Shows("›"))
			term.Type(t, "typed blindly\n\x1b[A")
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
			for _, asked := range []string{"\x1b[c", "\x1b[6n", "$p", "\x1b[?1049h", "\x1b[?2004h", "\x1b[>", "\x1b[="} {
				if strings.Contains(term.Raw(), asked) {
					t.Errorf("the terminal was asked or told %q", asked)
				}
			}
			// What a killed program could not take back: modes but for a cursor that is shown at once, its shape, scroll regions.
			if told := regexp.MustCompile(`\x1b\[\?\d+h|\x1b\[\d* q|\x1b\[\d+;\d+r`).FindAllString(term.Raw(), -1); slices.ContainsFunc(told, func(s string) bool { return s != "\x1b[?25h" }) {
				t.Errorf("the terminal was told %q", told)
			}
		})
	}
}

// The window changes its size in the middle of a run, down to where nothing can be drawn and back.
func TestDisplayFollowsTheWindow(t *testing.T) {
	term := rig.NewTerminal(t, 100, 30)
	d := Start(screenOf(term, true), terminaltest.Plan(), Controls{})
	still(d)
	terminaltest.Play(terminaltest.Plan(), 20, d.Event, d.Sample)
	term.Until(t, "the view", patience, rig.Shows("2,000 of"))
	for _, size := range [][2]int{{140, 40}, {70, 20}, {30, 20}, {40, 10}, {90, 24}} {
		term.Resize(t, size[0], size[1])
		// The test's terminal is not this process's own, so that the kernel does not tell it.
		d.program.Send(sized(size[0], size[1]))
		terminaltest.Play(terminaltest.Plan(), 20, func(report.Event) {}, d.Sample)
		if size[0] < view.MinWidth {
			term.Until(t, "plain lines", patience, rig.Shows("ramp         "))
			continue
		}
		term.Until(t, "the view in its new width", patience, func(screen []string) bool {
			return slices.ContainsFunc(screen, func(line string) bool {
				return strings.HasPrefix(line, " connectivity") && strings.HasSuffix(line, " left") && len([]rune(line)) == size[0]-1
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
	d := Start(screenOf(term, false), terminaltest.Plan(), Controls{})
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

// attributes are those of a terminal.
func attributes(t *testing.T, term *rig.Terminal) unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(term.Tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

// Only echo and whole lines are off while a display draws: Ctrl-C stays a signal, lines end as ever, and all is as before afterwards.
func TestAttributes(t *testing.T) {
	term := rig.NewTerminal(t, 80, 24)
	before := attributes(t, term)
	d := Start(screenOf(term, false), terminaltest.Plan(), Controls{})
	during := attributes(t, term)
	if off := before.Lflag &^ during.Lflag; off != unix.ECHO|unix.ICANON {
		t.Errorf("off are %x", off)
	}
	if during.Iflag != before.Iflag || during.Oflag != before.Oflag || during.Cflag != before.Cflag {
		t.Errorf("before %+v, during %+v", before, during)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if after := attributes(t, term); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// What is no terminal is left alone, and no keys are read from it.
func TestNoKeysWithoutATerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, in := range []*os.File{nil, null} {
		term := rig.NewTerminal(t, 80, 24)
		d := Start(Screen{Out: term.Tty, In: in, Env: []string{"TERM=xterm"}}, terminaltest.Plan(), Controls{})
		term.Until(t, "which keys there are", patience, rig.Shows("Ctrl-C stops and reports"))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Keys do to the run what they say, once they are confirmed.
func TestKeysControlTheRun(t *testing.T) {
	term := rig.NewTerminal(t, 80, 24)
	did := make(chan string, 10)
	d := Start(screenOf(term, false), terminaltest.Plan(), Controls{
		Stop: func() { did <- "stop" }, Pause: func(paused bool) { did <- fmt.Sprint("pause ", paused) },
	})
	terminaltest.Play(terminaltest.Plan(), 20, d.Event, d.Sample)
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-did:
			if got != want {
				t.Errorf("%s; want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("no %s", want)
		}
	}
	term.Type(t, "q")
	term.Until(t, "the question", patience, rig.Shows("Stop the run?"))
	term.Type(t, "nqy")
	expect("stop")
	term.Type(t, "py")
	expect("pause true")
	d.Event(report.Event{At: time.Minute, Kind: report.KindPaused, Text: "the load was paused by hand", OK: true})
	term.Until(t, "that it is paused", patience, rig.Shows("PAUSED"))
	term.Type(t, "p")
	expect("pause false")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if len(did) > 0 {
		t.Errorf("%d keys did more", len(did))
	}
}

// On the alternate screen nothing is lost either: what was printed meanwhile is there afterwards, and what was there before.
func TestAlternateScreen(t *testing.T) {
	term := rig.NewTerminal(t, 80, 24)
	fmt.Fprintf(term.Tty, "$ twinfleet run\n")
	term.Until(t, "the prompt", patience, rig.Shows("$ twinfleet run"))
	screen := screenOf(term, false)
	screen.Alternate = true
	d := Start(screen, terminaltest.Plan(), Controls{})
	terminaltest.Play(terminaltest.Plan(), 20, d.Event, d.Sample)
	fmt.Fprintln(d, "level=WARN")
	term.Until(t, "the view alone", patience, func(screen []string) bool {
		return rig.Shows("HOLDING")(screen) && !rig.Shows("$ twinfleet run")(screen) && !rig.Shows("level=WARN")(screen)
	})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	term.Until(t, "the screen as it was, with the log line", patience, func(screen []string) bool {
		return rig.Shows("$ twinfleet run")(screen) && rig.Shows("level=WARN")(screen) && !rig.Shows("HOLDING")(screen)
	})
}

// sized is what a program is told when its window has another size.
func sized(width, height int) tea.Msg { return tea.WindowSizeMsg{Width: width, Height: height} }
