package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/twinfleet/twinfleet/internal/terminal"
)

// env is all of the operating system that a command may touch, so that tests can hand it another.
type env struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	// terminal says whether standard error is a terminal, and how wide; width is 0 when it is not.
	terminal func() (width int)
	// screen is the terminal to draw on, when standard error is one that this process may draw on; else nil.
	screen func() *terminal.Screen
	// closed says that standard output was closed when the process began.
	closed bool
	// getenv finds an environment variable; empty when it is not set.
	getenv func(name string) string
	// outlive has what is written to standard output or error fail when its reader went away, from then on, instead of
	// ending the process.
	outlive func()
	// interrupts delivers Ctrl-C, SIGTERM and SIGHUP until stop is called.
	interrupts func() (signals <-chan os.Signal, stop func())
}

func system() env {
	return env{
		args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: func() int {
			width, _, err := term.GetSize(int(os.Stderr.Fd()))
			if err != nil || os.Getenv("TERM") == "dumb" {
				return 0
			}
			return width
		},
		screen: systemScreen, closed: wasClosed(os.Stdout), getenv: os.Getenv,
		outlive: func() { signal.Ignore(syscall.SIGPIPE) },
		interrupts: func() (<-chan os.Signal, func()) {
			// Two places: the second Ctrl-C must not be lost while the first is being handled.
			c := make(chan os.Signal, 2)
			signal.Notify(c, os.Interrupt, syscall.SIGTERM)
			if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
				signal.Notify(c, syscall.SIGHUP)
			}
			return c, func() { signal.Stop(c) }
		},
	}
}

// systemScreen is the terminal of the process. Continuous integration has terminals that nobody watches, and a
// dumb one cannot be drawn on.
func systemScreen() *terminal.Screen {
	if !term.IsTerminal(int(os.Stderr.Fd())) || os.Getenv("TERM") == "dumb" || os.Getenv("CI") != "" || !terminal.Foreground(os.Stderr) {
		return nil
	}
	s := &terminal.Screen{Out: os.Stderr, Env: os.Environ()}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		s.In = os.Stdin
	}
	return s
}

// stopper turns the first signal into a polite stop and the second into a hard one.
// The returned function ends the watching and waits for it.
func (e env) stopper(ctx context.Context, log *slog.Logger, soft func()) (context.Context, func()) {
	return e.stopperSaying(ctx, log, "stopping: devices disconnect and the report is made; once more stops at once", soft)
}

// errStarting is what a command fails with whose processes were starting when a signal came.
var errStarting = withCode(codeInterrupted, errors.New("interrupted while processes were started; nothing was run"))

// starting has the first signal end a context while a command starts processes. The command ends the watching with handOver, once it watches
// signals itself; it reports whether there was one.
func (e env) starting(ctx context.Context, log *slog.Logger) (_ context.Context, handOver func() bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	ctx, done := e.stopperSaying(ctx, log, "stopping: what was started is ended", func() { cancel(errInterrupted) })
	return ctx, sync.OnceValue(func() bool {
		interrupted := errors.Is(context.Cause(ctx), errInterrupted)
		done()
		cancel(nil)
		return interrupted
	})
}

// stopperSaying is stopper with what a polite stop means.
func (e env) stopperSaying(ctx context.Context, log *slog.Logger, text string, soft func()) (context.Context, func()) {
	hard, cancel := context.WithCancelCause(ctx)
	signals, stop := e.interrupts()
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		polite := false
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if polite && s == syscall.SIGHUP {
					continue // a terminal that closes sends it more than once
				}
				if polite {
					log.Warn("stopping at once", "signal", s.String())
					cancel(errInterrupted)
					return
				}
				polite = true
				log.Warn(text, "signal", s.String())
				soft()
			}
		}
	}()
	return hard, func() {
		stop()
		close(done)
		<-ended
		cancel(nil)
	}
}
