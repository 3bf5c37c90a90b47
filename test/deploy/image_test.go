//go:build linux

package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// repo is the root of the project, seen from this folder.
const repo = "../.."

// image is what the Dockerfile makes.
type image struct {
	user, group int
	ports       []string          // that it exposes
	entrypoint  []string          // the program, with its path
	cmd         []string          // its arguments, when none are given
	build       []string          // command lines of the stage that builds
	copied      map[string]string // paths in the image, and what they are in the stage that builds
	owned       []string          // those of them that belong to the user
}

func readImage(t *testing.T) *image {
	t.Helper()
	f, err := os.Open(filepath.Join(repo, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tree, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := &image{copied: make(map[string]string)}
	for _, stage := range stages {
		for _, command := range stage.Commands {
			switch c := command.(type) {
			case *instructions.RunCommand:
				i.build = append(i.build, strings.Join(c.CmdLine, " "))
			case *instructions.CopyCommand:
				if c.From == "" {
					continue // into the stage that builds
				}
				i.copied[c.DestPath] = c.SourcePaths[0]
				if c.Chown != "" {
					i.owned = append(i.owned, c.DestPath)
				}
			case *instructions.UserCommand:
				if _, err := fmt.Sscanf(c.User, "%d:%d", &i.user, &i.group); err != nil {
					t.Fatalf("USER %s: numbers are wanted, which Kubernetes can tell from root: %v", c.User, err)
				}
			case *instructions.ExposeCommand:
				i.ports = append(i.ports, c.Ports...)
			case *instructions.EntrypointCommand:
				i.entrypoint = c.CmdLine
			case *instructions.CmdCommand:
				i.cmd = c.CmdLine
			}
		}
	}
	if last := stages[len(stages)-1]; last.BaseName != "scratch" {
		t.Fatalf("the image is made from %s; this test knows only what is copied into an empty one", last.BaseName)
	}
	return i
}

// container is the image's file system, in which its commands run as its user. Nothing in it can be written but what belongs to the
// user: the volumes. All containers of a test share it, and the network of this machine.
type container struct {
	*image
	root  string
	ports map[string]string // what the files say, and what is free here
}

// unpack makes the file system; hosts are names of containers.
func (i *image) unpack(t *testing.T, hosts ...string) *container {
	t.Helper()
	return i.unpackWith(t, nil, hosts...)
}

// unpackWith is unpack with files that are mounted, by their paths.
func (i *image) unpackWith(t *testing.T, mounted map[string]string, hosts ...string) *container {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a program as the image's user in the image's file system")
	}
	c := &container{image: i, root: t.TempDir(), ports: make(map[string]string)}
	for to, from := range i.copied {
		target := filepath.Join(c.root, to)
		var err error
		switch name, inSource := strings.CutPrefix(from, "/src/"); {
		case inSource:
			err = os.CopyFS(target, os.DirFS(filepath.Join(repo, name)))
		case to == i.entrypoint[0]:
			err = i.make(t, from, target)
		case slices.Contains(i.owned, to):
			err = os.MkdirAll(target, 0o755)
		case from == to: // of the system that builds
			err = c.write(to, "")
		default:
			t.Fatalf("nobody here knows what COPY %s %s copies", from, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.write("/etc/hosts", "127.0.0.1 localhost "+strings.Join(hosts, " ")+"\n"); err != nil {
		t.Fatal(err)
	}
	for name, text := range mounted {
		if err := c.write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range i.owned {
		if err := os.Chown(filepath.Join(c.root, dir), i.user, i.group); err != nil {
			t.Fatal(err)
		}
	}
	proc := filepath.Join(c.root, "proc") // every engine has it there
	if err := os.Mkdir(proc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("proc", proc, "proc", syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); errors.Is(err, syscall.EPERM) {
		t.Skipf("this root may not mount /proc: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(proc, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c.chmod(t, 0o555)
	t.Cleanup(func() { c.chmod(t, 0o755) }) // so that it can be removed
	return c
}

// chmod sets the rights of the folders that are no volumes.
func (c *container) chmod(t *testing.T, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(c.root, mode); err != nil {
		t.Error(err)
	}
	err := filepath.WalkDir(c.root, func(name string, d os.DirEntry, err error) error {
		switch {
		case err != nil || !d.IsDir():
			return err
		case name == filepath.Join(c.root, "proc"), slices.Contains(c.owned, strings.TrimPrefix(name, c.root)):
			return filepath.SkipDir
		}
		return os.Chmod(name, mode)
	})
	if err != nil {
		t.Error(err)
	}
}

// write makes a file that the engine gives a container.
func (c *container) write(name, text string) error {
	file := filepath.Join(c.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

var (
	buildOnce sync.Once
	built     string // a folder
	errBuild  error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// make makes the program by the Dockerfile's own command, once for all tests, and links it to where it is wanted.
func (i *image) make(t *testing.T, from, to string) error {
	t.Helper()
	buildOnce.Do(func() {
		at := slices.IndexFunc(i.build, func(line string) bool { return strings.Contains(line, "-o "+from+" ") })
		if at < 0 {
			errBuild = fmt.Errorf("no command of the Dockerfile makes %s: %q", from, i.build)
			return
		}
		if built, errBuild = os.MkdirTemp("", "twinfleet-image-"); errBuild != nil {
			return
		}
		// Without -trimpath, which changes names of files in stack traces and would have everything compiled once more.
		line := strings.NewReplacer(from, filepath.Join(built, "program"), " -trimpath", "").Replace(i.build[at])
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			errBuild = fmt.Errorf("%s: %w\n%s", i.build[at], err, out)
		}
	})
	if errBuild != nil {
		return errBuild
	}
	b, err := os.ReadFile(filepath.Join(built, "program"))
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

var address = regexp.MustCompile(`^(0\.0\.0\.0|127\.0\.0\.1):(\d+)$`)

// here has arguments listen on ports that are free on this machine: the same one wherever the files name the same.
func (c *container) here(t *testing.T, args []string) []string {
	t.Helper()
	out := slices.Clone(args)
	for i, arg := range out {
		if m := address.FindStringSubmatch(arg); m != nil {
			out[i] = m[1] + ":" + c.port(t, m[2])
		}
	}
	return out
}

// port is what stands for a port of the files.
func (c *container) port(t *testing.T, of string) string {
	t.Helper()
	if c.ports[of] == "" {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c.ports[of] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	return c.ports[of]
}

// process is a command in a container.
type process struct {
	cmd   *exec.Cmd
	out   *output
	ended chan struct{}
}

// output may be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the program with arguments as the container's user, in its file system, with no environment but env.
func (c *container) start(t *testing.T, program string, args, env []string) *process {
	t.Helper()
	attr := &syscall.SysProcAttr{Chroot: c.root, Credential: &syscall.Credential{Uid: uint32(c.user), Gid: uint32(c.group)}}
	cmd := &exec.Cmd{Path: program, Args: append([]string{program}, args...), Dir: "/", Env: append([]string{"PATH=/"}, env...), SysProcAttr: attr}
	return begin(t, cmd)
}

// begin starts a command, which ends with the test.
func begin(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, out: new(output), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%q: %v", p.cmd.Args, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState has how it ended
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // who has ended needs no killing
		<-p.ended
		if t.Failed() {
			t.Logf("%q:\n%s", p.cmd.Args, p.out)
		}
	})
	return p
}

// patience is how long anything here may take: the machine may be busy.
const patience = 2 * time.Minute

// wait is the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%q has not ended", p.cmd.Args)
	}
	return p.cmd.ProcessState.ExitCode()
}

// until waits for a condition, while none of the processes ends.
func until(t *testing.T, what string, is func() bool, running ...*process) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		for _, p := range running {
			select {
			case <-p.ended:
				t.Fatalf("%s: %q ended with exit code %d", what, p.cmd.Args, p.cmd.ProcessState.ExitCode())
			default:
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// get asks a port of the files for a path, by the name that whoever asks in the files has for it.
func (c *container) get(t *testing.T, host, port, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+c.port(t, port)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// ended is how a run ended, on /metrics.
var ended = regexp.MustCompile(`(?m)^twinfleet_run_verdict\{[^}]*verdict="(passed|missed|saturated|interrupted|failed)"[^}]*\} 1$`)

// passed waits until a run that goes on has passed, as whoever scrapes it sees.
func (c *container) passed(t *testing.T, host, port string, run *process) {
	t.Helper()
	until(t, "/metrics says that the run passed", func() bool {
		status, text := c.get(t, host, port, "/metrics")
		if status != 0 && status != http.StatusOK {
			t.Fatalf("/metrics for %s answers %d: %s", host, status, text)
		}
		if m := ended.FindStringSubmatch(text); m != nil && m[1] != "passed" {
			t.Fatalf("the run is %s", m[1])
		}
		return ended.MatchString(text)
	}, run)
}

// records holds the volume of records to one run that is there as a whole.
func (c *container) records(t *testing.T, volume string) {
	t.Helper()
	for _, file := range []string{"record.jsonl", "report.html"} {
		found, err := filepath.Glob(filepath.Join(c.root, volume, "*", file))
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %v, %v; want one of %s", volume, found, err, file)
			continue
		}
		info, err := os.Stat(found[0])
		if err != nil {
			t.Error(err)
		} else if owner := info.Sys().(*syscall.Stat_t).Uid; info.Size() == 0 || int(owner) != c.user {
			t.Errorf("%s has %d bytes and is user %d's", file, info.Size(), owner)
		}
	}
}

// flagOf is the value of a flag among arguments.
func flagOf(t *testing.T, args []string, name string) string {
	t.Helper()
	i := slices.Index(args, name)
	if i < 0 || i+1 == len(args) {
		t.Fatalf("%q has no %s", args, name)
	}
	return args[i+1]
}

// portOf is the port of a flag that is an address.
func portOf(t *testing.T, args []string, name string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(flagOf(t, args, name))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// small makes a run short, and has it pass on a machine that is busy.
var small = []string{"--devices", "50", "--duration", "3s", "--set", "thresholds={}", "--allow-saturated"}

// What the image does when it is told nothing: the ports that it exposes answer, and the volume takes the record.
func TestImageAlone(t *testing.T) {
	t.Parallel()
	c := readImage(t).unpack(t)
	run := c.start(t, c.entrypoint[0], append(c.here(t, c.cmd), append(small, "--linger", "10m")...), nil)
	metrics, page := portOf(t, c.cmd, "--metrics-addr"), portOf(t, c.cmd, "--ui-addr")
	c.passed(t, "machine.example:"+metrics, metrics, run)
	if status, text := c.get(t, "localhost:"+page, page, "/"); status != http.StatusOK || !strings.Contains(text, "<html") {
		t.Errorf("the live page answers %d", status)
	}
	for _, port := range []string{metrics, page} {
		if !slices.Contains(c.image.ports, port) {
			t.Errorf("the image exposes %q, not %s", c.image.ports, port)
		}
	}
	if err := run.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := run.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	out := flagOf(t, c.cmd, "--out")
	if !slices.Contains(c.owned, path.Clean(out)) {
		t.Errorf("%s is not the user's in the image: %q", out, c.owned)
	}
	c.records(t, out)

	version := c.start(t, c.entrypoint[0], []string{"version"}, nil)
	if code := version.wait(t); code != 0 || !regexp.MustCompile(`^twinfleet \d+\.\d+\.\d+\S* go1`).MatchString(version.out.String()) {
		t.Errorf("version: exit code %d, %s", code, version.out)
	}
}
