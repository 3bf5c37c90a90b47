// Package launch starts processes of this program on this machine and looks after them: it waits until each is ready, keeps what they said
// last, tells when one ends, and stops them all. They end with this process, even when it is killed, unless they are to survive it.
package launch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of Start and Stop.
var (
	// ErrNotReady is returned when a process ends before it is ready, or does not get so in time. The text has its last lines.
	ErrNotReady = errors.New("not ready")
	// ErrKilled is returned by Stop when a process did not end when it was asked to.
	ErrKilled = errors.New("killed, as it did not end when asked to")
	// ErrCommand is returned for a Command that cannot be started as it is.
	ErrCommand = errors.New("no command to start")
)

// Secret is text that prints as "redacted".
type Secret string

// Format writes "redacted", whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText is "redacted".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Command is a process to start.
type Command struct {
	Name    string            // of the process, for people; not empty, and no other's
	Path    string            // the program; this one when empty
	Args    []string          // without its name; a secret among them is refused
	Env     []string          // "NAME=value", on top of this process's
	Secrets map[string]Secret // likewise, by name; where the process says one, "***" is kept instead
	Output  string            // a file to which what the process says is appended as it stands; needed for those that survive, as nobody else listens then
}

// Options of Start. Zero values mean the defaults.
type Options struct {
	// Ready tells whether a line that a process says means that it is ready; nil takes the first one. It is called for each line until then,
	// for several processes at once.
	Ready func(name, line string) bool
	// Within is how long a process may take to be ready; 30 s when 0.
	Within time.Duration
	// Lines is how many lines of each process are kept, the last ones; 50 when 0.
	Lines int
	// Line is told of each line, without secrets, for several processes at once; may be nil. It must not wait for the Group.
	Line func(name, line string)
	// Survive has processes live on when this one ends: each has a session of its own then, and is to call Orphaned and Survives, as nobody else
	// ends it. Otherwise they end with this one: on Linux the kernel kills them, elsewhere they are to call Orphaned.
	Survive bool
}

const (
	defaultWithin = 30 * time.Second
	defaultLines  = 50
	// drain is how long what a process has said is waited for when it has ended: somebody else may have its output open.
	drain = 2 * time.Second
)

// Exit is how a process ended.
type Exit struct {
	Name   string
	Code   int       // -1 when a signal ended it
	Signal string    // "killed", "terminated"; "" when it ended by itself
	At     time.Time // when that was noticed
	Last   []string  // its last lines
	Crash  []string  // the first lines of what the Go runtime said of why it ended the process; nil when it did not
}

// Words are the lines with which a process that ended by itself, and with an error, said why; nil for others.
func (e Exit) Words() []string {
	switch {
	case e.Code <= 0:
		return nil
	case len(e.Crash) > 0:
		return e.Crash
	}
	return e.Last
}

// Why is how it ended and, where it said so, why, in a line: "exit code 2: fatal error: out of memory".
func (e Exit) Why() string {
	words := e.Words()
	switch {
	case len(words) == 0:
		return e.String()
	case len(e.Crash) > 0:
		return e.String() + ": " + words[0]
	}
	return e.String() + ": " + words[len(words)-1]
}

// String is how it ended, in words: "exit code 2", "signal: killed".
func (e Exit) String() string {
	if e.Signal != "" {
		return "signal: " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Group is processes that were started together.
type Group struct {
	all   []*process
	ended chan Exit
	left  atomic.Int32   // processes that have not ended
	own   sync.WaitGroup // goroutines
}

// process is one of them.
type process struct {
	name     string
	cmd      *exec.Cmd
	lines    *lines
	stdin    *os.File // what it reads from is open as long as this process lives
	survives bool

	ready chan struct{} // closed when it is
	done  chan struct{} // closed when it has ended
	exit  Exit          // how; valid then
}

// Start starts processes and waits until all are ready. When one is not, or ctx ends, none is left: the error is ErrNotReady, the cause of
// ctx, ErrCommand, or that of starting a program.
func Start(ctx context.Context, commands []Command, o Options) (*Group, error) {
	if o.Within <= 0 {
		o.Within = defaultWithin
	}
	if o.Lines <= 0 {
		o.Lines = defaultLines
	}
	if err := check(commands, o); err != nil {
		return nil, err
	}
	g := &Group{ended: make(chan Exit, len(commands))}
	g.left.Store(int32(len(commands)))
	if len(commands) == 0 {
		close(g.ended)
	}
	news := make(chan struct{}, 2*len(commands)) // somebody is ready, or has ended
	for i := range commands {
		if err := g.start(&commands[i], o, news); err != nil {
			g.kill()
			return nil, fmt.Errorf("starting %s: %w", commands[i].Name, err)
		}
	}
	if err := g.await(ctx, o.Within, news); err != nil {
		g.kill()
		return nil, err
	}
	return g, nil
}

// check finds mistakes before anything is started.
func check(commands []Command, o Options) error {
	names := make(map[string]bool)
	for _, c := range commands {
		switch {
		case c.Name == "":
			return fmt.Errorf("%w: it has no name", ErrCommand)
		case names[c.Name]:
			return fmt.Errorf("%w: two are called %s", ErrCommand, c.Name)
		case o.Survive && c.Output == "":
			return fmt.Errorf("%w: %s is to survive, and has no file for what it says", ErrCommand, c.Name)
		}
		names[c.Name] = true
		for name, s := range c.Secrets {
			if s != "" && slices.ContainsFunc(c.Args, func(arg string) bool { return strings.Contains(arg, string(s)) }) {
				return fmt.Errorf("%w: an argument of %s holds the secret %s, and anybody on this machine can read it there", ErrCommand, c.Name, name)
			}
		}
	}
	return nil
}

// start starts one process.
func (g *Group) start(c *Command, o Options, news chan<- struct{}) error {
	path := c.Path
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
	}
	p := &process{name: c.Name, cmd: exec.Command(path, c.Args...), survives: o.Survive, ready: make(chan struct{}), done: make(chan struct{})}
	p.lines = &lines{most: o.Lines, secrets: secretsOf(c), told: func(line string) {
		if o.Line != nil {
			o.Line(c.Name, line)
		}
		select {
		case <-p.ready:
		default:
			if o.Ready == nil || o.Ready(c.Name, line) {
				close(p.ready)
				news <- struct{}{}
			}
		}
	}}
	p.cmd.Env = append(os.Environ(), c.Env...)
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		p.cmd.Env = append(p.cmd.Env, name+"="+string(c.Secrets[name]))
	}
	p.cmd.SysProcAttr = attributes(o.Survive)
	p.cmd.WaitDelay = drain
	var follow *follower
	var theirs []*os.File // that the process has, and this one does not need once it is started
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	if c.Output != "" {
		var err error
		var out *os.File
		if follow, out, err = newFollower(c.Output, p.lines.stream()); err != nil {
			return err
		}
		theirs = append(theirs, out)
		p.cmd.Stdout, p.cmd.Stderr = out, out
	} else {
		p.cmd.Stdout, p.cmd.Stderr = p.lines.stream(), p.lines.stream()
	}
	p.cmd.Env = append(p.cmd.Env, launched+"="+map[bool]string{false: endsWith, true: survives}[o.Survive])
	in, hold, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("making a pipe: %w", err), follow.stop())
	}
	theirs = append(theirs, in)
	p.cmd.Stdin, p.stdin = in, hold
	started := make(chan error)
	g.own.Go(func() {
		runtime.LockOSThread() // the kernel kills it when the thread ends that started it (prctl(2), PR_SET_PDEATHSIG)
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if err == nil && follow != nil {
			follow.running = true
			g.own.Go(follow.run)
		}
		started <- err
		if err == nil {
			p.wait(follow)
			news <- struct{}{}
			g.ended <- p.exit
			if g.left.Add(-1) == 0 {
				close(g.ended)
			}
		}
	})
	if err := <-started; err != nil {
		_ = p.stdin.Close()
		return errors.Join(err, follow.stop())
	}
	g.all = append(g.all, p)
	return nil
}

// wait waits for the end of a process.
func (p *process) wait(follow *follower) {
	_ = p.cmd.Wait() // what it says stands in the state
	_ = p.stdin.Close()
	_ = follow.stop() // the file was read, as far as it can be
	p.lines.flush()
	p.exit = Exit{Name: p.name, Code: p.cmd.ProcessState.ExitCode(), Signal: signalOf(p.cmd.ProcessState), At: time.Now(), Last: p.lines.last(), Crash: p.lines.crashed()}
	close(p.done)
}

// await waits until all are ready.
func (g *Group) await(ctx context.Context, within time.Duration, news <-chan struct{}) error {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		var missing []*process
		for _, p := range g.all {
			select {
			case <-p.ready:
				continue
			default:
			}
			select {
			case <-p.done:
				return fmt.Errorf("%s ended before it was ready: %w: %s%s", p.name, ErrNotReady, p.exit, lastLines(p.exit.Last))
			default:
				missing = append(missing, p)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to be ready: %w", missing[0].name, context.Cause(ctx))
		case <-timer.C:
			others := ""
			for _, p := range missing[1:] {
				others += ", nor is " + p.name
			}
			return fmt.Errorf("%s is not ready after %v%s: %w%s", missing[0].name, within, others, ErrNotReady, lastLines(missing[0].lines.last()))
		}
	}
}

// lastLines is the end of an error with what a process said last.
func lastLines(all []string) string {
	if len(all) == 0 {
		return "; it said nothing"
	}
	return "; it said last:\n\t" + strings.Join(all, "\n\t")
}

// Ended tells of each process when it has ended, in that order, and is closed when all have. Nobody has to listen.
func (g *Group) Ended() <-chan Exit { return g.ended }

// find is a process by its name; nil when there is none.
func (g *Group) find(name string) *process {
	for _, p := range g.all {
		if p.name == name {
			return p
		}
	}
	return nil
}

// PID is the number of a process, or 0 when there is none of that name.
func (g *Group) PID(name string) int {
	if p := g.find(name); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Lines are the last lines that a process has said.
func (g *Group) Lines(name string) []string {
	if p := g.find(name); p != nil {
		return p.lines.last()
	}
	return nil
}

// Kill kills a process, unless it has ended.
func (g *Group) Kill(name string) {
	if p := g.find(name); p != nil {
		_ = p.cmd.Process.Kill() // it has ended
	}
}

// Stop asks all processes to end and waits until they have: on Windows by the end of their input, elsewhere by SIGTERM. When ctx ends
// before, it kills those that are left, and returns ErrKilled. It can be called more than once.
func (g *Group) Stop(ctx context.Context) error {
	for _, p := range g.all {
		p.ask()
	}
	var killed []error
	for _, p := range g.all {
		select {
		case <-p.done:
			continue
		default:
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			if p.cmd.Process.Kill() == nil {
				killed = append(killed, fmt.Errorf("%s: %w", p.name, ErrKilled))
			}
		}
	}
	g.own.Wait()
	return errors.Join(killed...)
}

// kill ends all processes at once, and waits until they have.
func (g *Group) kill() {
	for _, p := range g.all {
		_ = p.cmd.Process.Kill() // it has ended
	}
	g.own.Wait()
}
