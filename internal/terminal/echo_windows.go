package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// quiet keeps a console from echoing what is typed into the picture, and returns what gives the echo back. Ctrl-C stays a
// signal. What is no console is left alone.
func quiet(in *os.File) (restore func()) {
	none := func() {}
	if in == nil {
		return none
	}
	console := windows.Handle(in.Fd())
	var before uint32
	if windows.GetConsoleMode(console, &before) != nil {
		return none
	}
	if windows.SetConsoleMode(console, before&^windows.ENABLE_ECHO_INPUT) != nil {
		return none
	}
	return func() {
		// What was typed meanwhile was meant for nobody: the shell must not run it.
		_ = windows.FlushConsoleInputBuffer(console)
		_ = windows.SetConsoleMode(console, before)
	}
}

// Foreground reports whether this process may draw on a terminal: Windows knows no background of a console.
func Foreground(*os.File) bool { return true }
