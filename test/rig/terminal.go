//go:build linux

package rig

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Terminal is a pseudo-terminal with an emulator behind it, which shows what a person would see. It gives no
// answers: a program that asks a terminal something hangs here, for what it does not read in time the shell
// would run.
type Terminal struct {
	Tty *os.File // what programs write to
	pty *os.File

	mu       sync.Mutex // protects the following fields
	emulator *vt.Emulator
	raw      bytes.Buffer // all that was written
	changed  chan struct{}
}

// NewTerminal opens a terminal of so many columns and lines; it is closed with the test.
func NewTerminal(tb testing.TB, width, height int) *Terminal {
	tb.Helper()
	ptm, tty, err := pty.Open()
	if err != nil {
		tb.Fatal(err)
	}
	t := &Terminal{Tty: tty, pty: ptm, emulator: vt.NewEmulator(width, height), changed: make(chan struct{}, 1)}
	t.Resize(tb, width, height)
	var readers sync.WaitGroup
	readers.Go(t.read)
	tb.Cleanup(func() {
		tty.Close()
		ptm.Close()
		readers.Wait()
		t.emulator.Close()
	})
	return t
}

func (t *Terminal) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := t.pty.Read(buf)
		t.mu.Lock()
		t.raw.Write(buf[:n])
		_, _ = t.emulator.Write(buf[:n])
		t.mu.Unlock()
		select {
		case t.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// Resize changes the size, as a person who drags a corner of the window; programs are told.
func (t *Terminal) Resize(tb testing.TB, width, height int) {
	tb.Helper()
	t.mu.Lock()
	t.emulator.Resize(width, height)
	t.mu.Unlock()
	if err := pty.Setsize(t.pty, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}); err != nil {
		tb.Fatal(err)
	}
}

// Type types keys, Ctrl-C among them: "\x03".
func (t *Terminal) Type(tb testing.TB, keys string) {
	tb.Helper()
	if _, err := t.pty.WriteString(keys); err != nil {
		tb.Fatal(err)
	}
}

// TypeLine types a line and waits until the terminal holds it for whoever reads: what is typed reaches it a
// moment later than the call returns.
func (t *Terminal) TypeLine(tb testing.TB, line string, within time.Duration) {
	tb.Helper()
	t.Type(tb, line+"\n")
	raw, err := t.Tty.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	deadline, tick := time.After(within), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waiting := 0; waiting == 0; {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("the terminal did not take what was typed within %v", within)
		}
		if outer := raw.Control(func(fd uintptr) { waiting, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); outer != nil || err != nil {
			tb.Fatalf("asking the terminal what it holds: %v %v", outer, err)
		}
	}
}

// Screen is what is on the screen now, line by line, without what is blank at the right and at the bottom.
func (t *Terminal) Screen() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(t.emulator.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// Styled is the screen with its colours, as escape sequences.
func (t *Terminal) Styled() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.emulator.Render()
}

// History is what has left the screen at its top, oldest first.
func (t *Terminal) History() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for i := range t.emulator.ScrollbackLen() {
		var b strings.Builder
		for x := range t.emulator.Width() {
			if c := t.emulator.ScrollbackCellAt(x, i); c != nil && c.Content != "" {
				b.WriteString(c.Content)
			} else {
				b.WriteByte(' ')
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// CursorHidden reports whether a program has hidden the cursor.
func (t *Terminal) CursorHidden() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.emulator.CursorHidden()
}

// AlternateScreen reports whether a program draws on the alternate screen.
func (t *Terminal) AlternateScreen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.emulator.IsAltScreen()
}

// Attributes are the terminal's settings as stty knows them: echo, whole lines, signals.
func (t *Terminal) Attributes(tb testing.TB) unix.Termios {
	tb.Helper()
	raw, err := t.Tty.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	var now *unix.Termios
	if outer := raw.Control(func(fd uintptr) { now, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); outer != nil || err != nil {
		tb.Fatalf("asking the terminal for its settings: %v %v", outer, err)
	}
	return *now
}

// Eventually waits for something about the terminal that what is on the screen does not tell.
func (t *Terminal) Eventually(tb testing.TB, what string, within time.Duration, ok func() bool) {
	tb.Helper()
	deadline, tick := time.After(within), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("%s: not within %v; settings %+v; the screen is\n%s", what, within, t.Attributes(tb), strings.Join(t.Screen(), "\n"))
		}
	}
}

// Raw is all that programs have written.
func (t *Terminal) Raw() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.raw.String()
}

// Until waits until the screen is as wanted.
func (t *Terminal) Until(tb testing.TB, what string, within time.Duration, ok func(screen []string) bool) {
	tb.Helper()
	deadline := time.After(within)
	for !ok(t.Screen()) {
		select {
		case <-t.changed:
		case <-deadline:
			tb.Fatalf("%s: not within %v; the screen is\n%s\nafter\n%s", what, within, strings.Join(t.Screen(), "\n"), strings.Join(t.History(), "\n"))
		}
	}
}

// Shows is for Until: a line of the screen contains a text.
func Shows(text string) func([]string) bool {
	return func(screen []string) bool {
		return slices.ContainsFunc(screen, func(line string) bool { return strings.Contains(line, text) })
	}
}

// Start starts a program in a folder with this terminal as its own, for all three streams unless stdout is
// given. It is killed with the test.
func (t *Terminal) Start(tb testing.TB, dir string, environ []string, stdout *os.File, name string, args ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "TWINFLEET_ALLOW_SATURATED=true"), environ...) // the machine may be busy
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.Tty, t.Tty, t.Tty
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	watched := make(chan os.Signal, 1)
	signal.Notify(watched, syscall.SIGHUP) // or what is started ignored it as well, where nohup had these tests ignore it
	defer signal.Stop(watched)
	if err := cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", name, err)
	}
	tb.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}
