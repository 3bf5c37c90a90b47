//go:build unix

package launch_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/swarm/launch"
)

// What the test's own program is when it is started once more: the environment says.
const (
	asChild  = "LAUNCH_TEST_CHILD"  // what it does
	controls = "LAUNCH_TEST_SOCKET" // where the test listens
	folder   = "LAUNCH_TEST_FOLDER"
)

func TestMain(m *testing.M) {
	if does := os.Getenv(asChild); does != "" {
		os.Exit(child(does))
	}
	goleak.VerifyTestMain(m)
}

// child is a process that is started by tests.
func child(does string) (code int) {
	switch does {
	case "fails":
		fmt.Println("first line")
		fmt.Fprintln(os.Stderr, "no such hub, with the key", os.Getenv("KEY"))
		return 3
	case "silent":
		select {}
	case "parent", "parent of a survivor":
		return parent(does == "parent of a survivor")
	case "orphan":
		fmt.Printf("waiting %v, survives: %t\n", launch.Orphaned(context.Background()), launch.Survives())
		return 7
	case "impatient orphan":
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(10*time.Millisecond, func() { cancel(errors.New("enough")) })
		fmt.Println("waiting", launch.Orphaned(ctx))
		return 8
	case "talker":
		for i := range 200 {
			fmt.Println("line", i, os.Getenv("KEY"))
		}
		fmt.Println(strings.Repeat("x", 5000) + os.Getenv("KEY"))
		fmt.Print("unended")
		return 0
	case "refuser":
		fmt.Println("no")
		return 3
	case "panicker":
		for i := range 100 {
			go func() { select {} }()
			fmt.Println("line", i)
		}
		panic("with " + os.Getenv("KEY"))
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	c, err := net.Dial("tcp", os.Getenv(controls))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer c.Close()
	fmt.Fprintln(c, os.Getpid())
	fmt.Println("starting")
	fmt.Println("ready")
	told := make(chan string)
	go func() {
		for s := bufio.NewScanner(c); s.Scan(); {
			told <- s.Text()
		}
	}()
	for {
		select {
		case <-terminated:
			if does == "stubborn" {
				fmt.Fprintln(c, "never")
				continue
			}
			fmt.Println("bye")
			return 0
		case text := <-told:
			if n, err := strconv.Atoi(text); err == nil {
				return n
			}
			fmt.Println(text)
			fmt.Fprintln(c, "said")
		}
	}
}

// parent launches a process, tells when it is ready, and waits to be killed.
func parent(survive bool) int {
	g, err := launch.Start(context.Background(), []launch.Command{
		{Name: "grandchild", Env: []string{asChild + "=agent"}, Output: filepath.Join(os.Getenv(folder), "output")},
	}, launch.Options{Survive: survive, Ready: isReady})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for range 20 { // the thread that started it is not kept alive by chance
		go func() { runtime.LockOSThread() }()
	}
	fmt.Println("ready")
	for e := range g.Ended() {
		fmt.Println(e)
	}
	return 0
}

func isReady(_, line string) bool { return line == "ready" }

// told is a connection of a process that was started.
type told struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Scanner
	pid   int
}

// sockets is where processes connect to the test.
type sockets struct {
	t *testing.T
	net.Listener
}

func listen(t *testing.T) sockets {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return sockets{t, l}
}

// accept waits for one of them.
func (s sockets) accept() *told {
	s.t.Helper()
	c, err := s.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	x := &told{t: s.t, conn: c, lines: bufio.NewScanner(c)}
	x.pid, _ = strconv.Atoi(x.line())
	return x
}

// line waits for what it says; "" when it is gone.
func (x *told) line() string {
	x.lines.Scan()
	return x.lines.Text()
}

func (x *told) tell(text string) {
	x.t.Helper()
	if _, err := fmt.Fprintln(x.conn, text); err != nil {
		x.t.Fatal(err)
	}
}

// gone waits until the process is gone.
func (x *told) gone() {
	x.t.Helper()
	_ = x.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for x.lines.Scan() {
	}
	if err := x.lines.Err(); errors.Is(err, os.ErrDeadlineExceeded) {
		x.t.Errorf("process %d is still there: %v", x.pid, err)
	}
}

func command(name, does string, s sockets) launch.Command {
	c := launch.Command{Name: name, Env: []string{asChild + "=" + does}}
	if s.Listener != nil {
		c.Env = append(c.Env, controls+"="+s.Addr().String())
	}
	return c
}

// Processes are started, are ready, end by themselves or are stopped; who ends is told, and none is left behind as a zombie.
func TestGroup(t *testing.T) {
	s := listen(t)
	g, err := launch.Start(t.Context(), []launch.Command{
		command("agent-1", "agent", s), command("agent-2", "agent", s), command("agent-3", "agent", s),
	}, launch.Options{Ready: isReady})
	if err != nil {
		t.Fatal(err)
	}
	byPID := make(map[int]*told)
	for range 3 {
		x := s.accept()
		byPID[x.pid] = x
	}
	pids := []int{g.PID("agent-1"), g.PID("agent-2"), g.PID("agent-3")}
	for _, name := range []string{"agent-1", "agent-2", "agent-3"} {
		if byPID[g.PID(name)] == nil || !slices.Equal(g.Lines(name), []string{"starting", "ready"}) {
			t.Fatalf("%s has the number %d, and said %q", name, g.PID(name), g.Lines(name))
		}
	}
	if g.PID("agent-4") != 0 || g.Lines("agent-4") != nil {
		t.Error("there is an agent-4")
	}

	byPID[g.PID("agent-2")].tell("5")
	if e := <-g.Ended(); e.Name != "agent-2" || e.Code != 5 || e.Signal != "" || e.String() != "exit code 5" || e.At.IsZero() {
		t.Errorf("%+v", e)
	}
	g.Kill("agent-3")
	g.Kill("nobody")
	if e := <-g.Ended(); e.Name != "agent-3" || e.Code != -1 || e.String() != "signal: killed" {
		t.Errorf("%+v", e)
	}
	if err := g.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if e := <-g.Ended(); e.Name != "agent-1" || e.Code != 0 || !slices.Equal(e.Last, []string{"starting", "ready", "bye"}) {
		t.Errorf("%+v", e)
	}
	if e, more := <-g.Ended(); more {
		t.Errorf("one more ends: %+v", e)
	}
	if err := g.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there, be it as a zombie: %v", pid, err)
		}
	}
}

// One that does not end when it is asked to is killed, once there is no more time.
func TestStubborn(t *testing.T) {
	s := listen(t)
	g, err := launch.Start(t.Context(), []launch.Command{command("agent-1", "stubborn", s), command("agent-2", "agent", s)}, launch.Options{Ready: isReady})
	if err != nil {
		t.Fatal(err)
	}
	a, b := s.accept(), s.accept()
	if a.pid != g.PID("agent-1") {
		a = b
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // it was asked, and stays
		if a.line() == "never" {
			cancel()
		}
	}()
	if err := g.Stop(ctx); !errors.Is(err, launch.ErrKilled) || !strings.Contains(err.Error(), "agent-1: killed, as it did not end when asked to") {
		t.Error(err)
	}
	ends := make(map[string]string)
	for e := range g.Ended() {
		ends[e.Name] = e.String()
	}
	if ends["agent-1"] != "signal: killed" || len(ends) != 2 {
		t.Error(ends)
	}
}

// Who is not ready is said, with its last lines and without its secrets; nobody else is left.
func TestNotReady(t *testing.T) {
	t.Run("it ends", func(t *testing.T) {
		s := listen(t)
		bad := command("agent-2", "fails", s)
		bad.Secrets = map[string]launch.Secret{"KEY": "c2VjcmV0"}
		_, err := launch.Start(t.Context(), []launch.Command{command("agent-1", "agent", s), bad}, launch.Options{Ready: isReady})
		if !errors.Is(err, launch.ErrNotReady) || !strings.HasPrefix(fmt.Sprint(err), "agent-2 ended before it was ready: not ready: exit code 3; it said last:\n\t") ||
			!strings.Contains(err.Error(), "\n\tno such hub, with the key ***") || !strings.Contains(err.Error(), "\n\tfirst line") {
			t.Errorf("%v", err)
		}
	})
	t.Run("it takes too long", func(t *testing.T) {
		_, err := launch.Start(t.Context(), []launch.Command{command("agent-1", "silent", sockets{}), command("agent-2", "silent", sockets{})},
			launch.Options{Within: 50 * time.Millisecond})
		if want := "agent-1 is not ready after 50ms, nor is agent-2: not ready; it said nothing"; err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	})
	t.Run("nobody waits any more", func(t *testing.T) {
		s, enough := listen(t), errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := launch.Start(ctx, []launch.Command{command("agent-1", "agent", s)}, launch.Options{
			Ready: func(_, line string) bool {
				if line == "ready" {
					cancel(enough)
				}
				return false
			},
		})
		if !errors.Is(err, enough) {
			t.Error(err)
		}
		s.accept().gone()
	})
	t.Run("there is no such program", func(t *testing.T) {
		s := listen(t)
		bad := command("agent-2", "agent", s)
		bad.Path = filepath.Join(t.TempDir(), "nothing")
		if _, err := launch.Start(t.Context(), []launch.Command{command("agent-1", "agent", s), bad}, launch.Options{}); !errors.Is(err, os.ErrNotExist) ||
			!strings.Contains(err.Error(), "starting agent-2") {
			t.Error(err)
		}
		bad.Output = filepath.Join(t.TempDir(), "output")
		if _, err := launch.Start(t.Context(), []launch.Command{bad}, launch.Options{}); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		bad.Output = filepath.Join(t.TempDir(), "nowhere", "output")
		if _, err := launch.Start(t.Context(), []launch.Command{bad}, launch.Options{}); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

func TestRefused(t *testing.T) {
	for name, x := range map[string]struct {
		commands []launch.Command
		options  launch.Options
	}{
		"no name":                      {[]launch.Command{{}}, launch.Options{}},
		"one name twice":               {[]launch.Command{{Name: "a"}, {Name: "a"}}, launch.Options{}},
		"a survivor that nobody hears": {[]launch.Command{{Name: "a"}}, launch.Options{Survive: true}},
		"a secret among the arguments": {[]launch.Command{{Name: "a", Args: []string{"--token=hidden"}, Secrets: map[string]launch.Secret{"TOKEN": "hidden"}}}, launch.Options{}},
	} {
		_, err := launch.Start(t.Context(), x.commands, x.options)
		if !errors.Is(err, launch.ErrCommand) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
	g, err := launch.Start(t.Context(), nil, launch.Options{})
	if err != nil || g.Stop(t.Context()) != nil {
		t.Errorf("nobody: %v", err)
	}
	if _, more := <-g.Ended(); more {
		t.Error("nobody has ended")
	}
}

// The last lines are kept, each up to a length, without secrets, and with what has no end.
func TestLines(t *testing.T) {
	c := command("talker", "talker", sockets{})
	c.Secrets = map[string]launch.Secret{"KEY": "secret"}
	var heard []string
	g, err := launch.Start(t.Context(), []launch.Command{c}, launch.Options{Lines: 3, Line: func(_, line string) { heard = append(heard, line) }})
	if err != nil {
		t.Fatal(err)
	}
	e := <-g.Ended()
	if want := []string{"line 199 ***", strings.Repeat("x", 4096) + "…", "unended"}; !slices.Equal(e.Last, want) {
		t.Errorf("%q; want %q", e.Last, want)
	}
	if err := g.Stop(t.Context()); err != nil || len(heard) != 202 || heard[0] != "line 0 ***" {
		t.Errorf("%v; %d lines were heard, %q first", err, len(heard), heard[0])
	}
	if text := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(text, "secret") {
		t.Error(text)
	}
}

// Of a crash its first lines are kept, whatever follows them, and are why the process ended; of one that ends with an error itself the last line is.
func TestWhy(t *testing.T) {
	for role, want := range map[string]struct {
		why   string
		words int
	}{
		"panicker": {"exit code 2: panic: with ***", 5},
		"talker":   {"exit code 0", 0},
		"refuser":  {"exit code 3: no", 1},
	} {
		c := command(role, role, sockets{})
		c.Secrets = map[string]launch.Secret{"KEY": "secret"}
		c.Env = append(c.Env, "GOTRACEBACK=all")
		g, err := launch.Start(t.Context(), []launch.Command{c}, launch.Options{Lines: 5})
		if err != nil {
			t.Fatal(err)
		}
		if e := <-g.Ended(); e.Why() != want.why || len(e.Words()) != want.words || strings.Contains(strings.Join(e.Words(), ""), "secret") {
			t.Errorf("%s: %s; %q", role, e.Why(), e.Words())
		}
		if err := g.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, e := range []launch.Exit{{Code: -1, Signal: "killed", Last: []string{"ready"}}, {Code: 1}} {
		if e.Why() != e.String() {
			t.Errorf("%+v: %s", e, e.Why())
		}
	}
}

// What is said into a file is heard as well, and is there for people.
func TestOutput(t *testing.T) {
	s := listen(t)
	c := command("agent-1", "agent", s)
	c.Output = filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(c.Output, []byte("ready\n"), 0o600); err != nil { // of an earlier run: it says nothing of this one
		t.Fatal(err)
	}
	g, err := launch.Start(t.Context(), []launch.Command{c}, launch.Options{Ready: isReady, Survive: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if e := <-g.Ended(); !slices.Equal(e.Last, []string{"starting", "ready", "bye"}) {
		t.Errorf("%+v", e)
	}
	if text, err := os.ReadFile(c.Output); err != nil || string(text) != "ready\nstarting\nready\nbye\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// kill9 starts a process that launches another one, and kills it with no time to do anything.
func kill9(t *testing.T, does string) (grandchild *told, output string) {
	t.Helper()
	s, dir := listen(t), t.TempDir()
	c := command("parent", does, s)
	c.Env = append(c.Env, folder+"="+dir)
	g, err := launch.Start(t.Context(), []launch.Command{c}, launch.Options{Ready: isReady})
	if err != nil {
		t.Fatal(err)
	}
	grandchild = s.accept()
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(grandchild.pid, syscall.SIGKILL)
		}
	})
	grandchild.tell("hello")
	if said := grandchild.line(); said != "said" {
		t.Fatalf("it says %q", said)
	}
	g.Kill("parent")
	<-g.Ended()
	if err := g.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	return grandchild, filepath.Join(dir, "output")
}

// A process dies with the one that started it, even when that is killed.
func TestDiesWithParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills it; elsewhere it has to ask whether it is an orphan")
	}
	grandchild, _ := kill9(t, "parent")
	grandchild.gone()
}

// One that is to survive does, and can go on talking.
func TestSurvives(t *testing.T) {
	grandchild, output := kill9(t, "parent of a survivor")
	grandchild.tell("still here")
	if said := grandchild.line(); said != "said" {
		t.Errorf("it says %q", said)
	}
	grandchild.tell("0")
	grandchild.gone()
	if text, err := os.ReadFile(output); err != nil || string(text) != "starting\nready\nhello\nstill here\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// A process that asks gets to know that it is an orphan.
func TestOrphaned(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := launch.Orphaned(t.Context()); !errors.Is(err, launch.ErrNotLaunched) {
		t.Errorf("nobody launched the test: %v", err)
	}
	for _, x := range []struct {
		does, how, said string
		code            int
		gone            bool
	}{
		{"orphan", "ends", "waiting <nil>, survives: false\n", 7, true},
		{"orphan", "survives", "waiting <nil>, survives: true\n", 7, true},
		{"impatient orphan", "ends", "waiting enough\n", 8, false},
	} {
		c := exec.Command(self)
		c.Env = append(os.Environ(), asChild+"="+x.does, "TWINFLEET_LAUNCHED="+x.how)
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if x.gone {
			_ = in.Close()
		}
		said, _ := bufio.NewReader(out).ReadString('\n')
		if _ = c.Wait(); said != x.said || c.ProcessState.ExitCode() != x.code {
			t.Errorf("%s: %q, %v", x.does, said, c.ProcessState)
		}
	}
}
