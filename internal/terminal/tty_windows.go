package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// tty is a console. While it is held it does not echo what is typed into the picture; keys are not read from it, and Ctrl-C stays a
// signal. A nil tty is none.
type tty struct {
	console windows.Handle
	before  uint32
	done    chan struct{}
}

// openTTY is a console that is not held yet; nil when in is none.
func openTTY(in *os.File) *tty {
	if in == nil {
		return nil
	}
	t := &tty{console: windows.Handle(in.Fd()), done: make(chan struct{})}
	if windows.GetConsoleMode(t.console, &t.before) != nil {
		return nil
	}
	return t
}

func (t *tty) hold() {
	if t != nil {
		_ = windows.SetConsoleMode(t.console, t.before&^windows.ENABLE_ECHO_INPUT)
	}
}

func (t *tty) give() {
	if t == nil {
		return
	}
	// What was typed meanwhile was meant for nobody: the shell must not run it.
	_ = windows.FlushConsoleInputBuffer(t.console)
	_ = windows.SetConsoleMode(t.console, t.before)
}

// read waits for stop.
func (t *tty) read(func([]byte)) { <-t.done }

func (t *tty) stop() {
	if t != nil {
		close(t.done)
	}
}

func (t *tty) close() {}

// canRead says that keys are read.
const canRead = false

// Foreground reports whether this process may draw on a terminal: Windows knows no background of a console.
func Foreground(*os.File) bool { return true }

// Background reports whether a terminal is another's now: see Foreground.
func Background(*os.File) bool { return false }

// suspensions delivers nothing: Windows has no Ctrl-Z.
func suspensions() (c <-chan os.Signal, stop func()) { return make(chan os.Signal), func() {} }

func suspend() {}

// guard gives a console back when the process is killed: on Windows a shell does so itself.
type guard struct{}

func newGuard(Screen, *tty) *guard { return nil }

func (*guard) watch() {}

func (*guard) dismiss() {}
