// Package rig starts the real programs that the integration suites need: this module's own
// binary, Mosquitto, Prometheus. Everything listens on loopback and ends with the test.
package rig

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/loopback"
)

// Root is the module's folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// builtVariable names, in the environment, the program that Main has built.
const builtVariable = "BUILT_FOR_TESTS"

// Main builds twinfleet once for all tests of a package, and runs them.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "twinfleet-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	path := filepath.Join(dir, "twinfleet")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/twinfleet")
	cmd.Dir = Root()
	code := 1
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building twinfleet: %v\n%s", err, out)
	} else if err := os.Setenv(builtVariable, path); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// Build is the path of the program that Main has built.
func Build(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv(builtVariable)
	if path == "" {
		tb.Fatal("the package's TestMain does not call rig.Main")
	}
	return path
}

// Program finds an installed program, also where Debian puts servers; a missing one fails the test.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	tb.Fatalf("%s is not installed; make setup installs it", name)
	return ""
}

// Process is a program that was started; it is killed when the test ends.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu     sync.Mutex
	output bytes.Buffer // both streams, in the order they came
	stdout bytes.Buffer
	lines  chan string // lines of standard output and standard error, until nobody reads
}

// Start starts a program in a folder with extra environment variables ("NAME=value").
func Start(tb testing.TB, dir string, environ []string, name string, args ...string) *Process {
	tb.Helper()
	p := &Process{cmd: exec.Command(name, args...), done: make(chan struct{}), lines: make(chan string, 4096)}
	p.cmd.Dir = dir
	p.cmd.Env = append(append(os.Environ(), "TWINFLEET_ALLOW_SATURATED=true"), environ...) // the machine may be busy
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", name, err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, true) })
	readers.Go(func() { p.read(stderr, false) })
	go func() {
		readers.Wait()
		p.err = p.cmd.Wait()
		close(p.lines)
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("output of %s %s:\n%s", filepath.Base(name), strings.Join(args, " "), p.Output())
		}
	})
	return p
}

func (p *Process) read(r io.Reader, out bool) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		p.output.WriteString(s.Text() + "\n")
		if out {
			p.stdout.WriteString(s.Text() + "\n")
		}
		p.mu.Unlock()
		select {
		case p.lines <- s.Text():
		default:
		}
	}
}

// Output is all that the process has printed.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Stdout is what the process has printed to standard output.
func (p *Process) Stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// Line waits for a line that contains text and returns it.
func (p *Process) Line(tb testing.TB, text string, within time.Duration) string {
	tb.Helper()
	deadline := time.After(within)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				tb.Fatalf("the process ended (%v) before it printed %q:\n%s", p.err, text, p.Output())
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			tb.Fatalf("no line with %q within %v:\n%s", text, within, p.Output())
		}
	}
}

// Says waits for a line that contains text; it is false when the process ended before, or did not print it in time.
func (p *Process) Says(text string, within time.Duration) bool {
	deadline := time.After(within)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok || strings.Contains(line, text) {
				return ok
			}
		case <-deadline:
			return false
		}
	}
}

// Ended waits a while for the end of the process, and reports whether it came.
func (p *Process) Ended(within time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(within):
		return false
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		tb.Fatalf("sending %v: %v", s, err)
	}
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Wait waits for the end of the process and returns its exit code.
func (p *Process) Wait(tb testing.TB, within time.Duration) int {
	tb.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		tb.Fatalf("the process did not end within %v:\n%s", within, p.Output())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		tb.Fatalf("waiting for the process: %v", p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Listening waits until something accepts connections at an address.
func Listening(tb testing.TB, addr string, within time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("nothing listens at %s after %v: %v", addr, within, err)
		}
	}
}

// Mosquitto starts a real Mosquitto broker without authentication and returns its address.
func Mosquitto(tb testing.TB, extra ...string) string {
	tb.Helper()
	_, addr := MosquittoProcess(tb, extra...)
	return addr
}

// MosquittoProcess is Mosquitto, with its process.
func MosquittoProcess(tb testing.TB, extra ...string) (p *Process, addr string) {
	tb.Helper()
	addr = loopback.Free(tb)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %s %s\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n%s\n", port, host, strings.Join(extra, "\n"))
	if os.Geteuid() == 0 {
		text += "user root\n"
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	p = Start(tb, dir, nil, Program(tb, "mosquitto"), "-c", conf)
	Listening(tb, addr, 10*time.Second)
	return p, addr
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }
