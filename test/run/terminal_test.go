//go:build integration && linux

package run

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// crowded is a scenario with everything that the view shows, errors among it: half of the answers do not come.
const crowded = `
name: crowded
fleet:
  groups:
    - {name: robots, count: 40, reported: {connectivity: {type: wifi}, every: 500ms}, timeout: 1s}
    - {name: gateways, count: 5, telemetry: {every: 500ms}, timeout: 1s}
stages:
  - {name: ramp, duration: 2s, devices: 45}
  - {name: hold, duration: 5m, hub: {drop_acks: 50%}}
service:
  tags: {robots: {plant: A}}
  queries: [{name: plant-a, every: 1s, sql: "SELECT * FROM devices WHERE tags.plant = 'A'"}]
thresholds: {connect: ["error_rate < 50%"]}
`

// wait waits for a program on a terminal and returns its exit code. One that does not end says where its goroutines are.
func wait(t *testing.T, term *rig.Terminal, cmd *exec.Cmd) int {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		shown := len(term.Raw())
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
		t.Fatalf("the program did not end within a minute: %s", term.Raw()[shown:])
	}
	return cmd.ProcessState.ExitCode()
}

func writeScenario(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "crowded.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A run on a terminal: the view has everything, in both sizes; Ctrl-C stops it politely, and the summary follows
// on a screen without leftovers of the view, and without a log line.
func TestTerminal(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	path := writeScenario(t, dir, crowded)
	for _, size := range [][2]int{{80, 24}, {200, 50}} {
		term := rig.NewTerminal(t, size[0], size[1])
		cmd := term.Start(t, dir, []string{"TERM=xterm-256color", "CI=", "NO_COLOR="}, nil, binary, "run", path, "--metrics-addr", "127.0.0.1:0")
		for _, want := range []string{
			`^ ✓ HOLDING  the threshold is met so far`, `^ crowded · embedded hub.* left$`, `▸ hold .* of 5m00s`, `━┃?━.*─ +\d+ %$`,
			`^ 45 of 45 devices · \d+ errors`, `^ ✓ connect: error_rate < 50% +0% \(0 of 45\)`, `\brobots +✗ ━+ +40 of 40`, `gateways +✗ ━+ +5 of 5`,
			`^ twin_report +✗ +[\d.]+/s +[\d.]+(µs|ms|s) `, `\d  twin_report timeout: no answer in time · robots`, `stage hold`, `q stop .*\? help$`,
		} {
			pattern := regexp.MustCompile(want)
			term.Until(t, want, 40*time.Second, func(screen []string) bool { return slices.ContainsFunc(screen, pattern.MatchString) })
		}
		if !strings.Contains(term.Raw(), "\x1b[3") {
			t.Error("no colours on a terminal")
		}
		term.Type(t, "\x03")
		if code := wait(t, term, cmd); code != 130 {
			t.Errorf("exit code %d", code)
		}
		term.Until(t, "the summary", 10*time.Second, rig.Shows("report runs/"))
		all := strings.Join(append(term.History(), term.Screen()...), "\n")
		if before, _, _ := strings.Cut(all, "  INTERRUPTED"); strings.TrimSpace(before) != "" {
			t.Errorf("after the run the terminal has\n%s", all)
		}
		if strings.Contains(all, "▸ hold") || strings.Contains(all, "Ctrl-C stops") || strings.Contains(all, "^C") {
			t.Errorf("leftovers of the view:\n%s", all)
		}
		if !regexp.MustCompile(`✗ [\d,]+ timeout: no answer in time\s+· [^✗]*twin_report`).MatchString(strings.ReplaceAll(all, "\n", "")) {
			t.Errorf("the summary does not say why operations ended badly:\n%s", all)
		}
	}
}

// Twice Ctrl-C ends a run at once, and the terminal is as it was. The window may change meanwhile.
func TestTerminalStopsAtOnce(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	path := writeScenario(t, dir, crowded)
	term := rig.NewTerminal(t, 90, 30)
	cmd := term.Start(t, dir, []string{"TERM=xterm", "CI="}, nil, binary, "run", path, "--metrics-addr=")
	term.Until(t, "the view", 30*time.Second, rig.Shows("40 of 40"))
	term.Resize(t, 140, 40)
	term.Until(t, "the wide view", 20*time.Second, rig.Shows("p99, second by second"))
	term.Type(t, "\x03\x03")
	if code := wait(t, term, cmd); code != 130 {
		t.Errorf("exit code %d", code)
	}
	term.Until(t, "the summary", 10*time.Second, rig.Shows("INTERRUPTED"))
	if term.CursorHidden() {
		t.Error("the cursor is hidden afterwards")
	}
	term.Type(t, "echo is on")
	term.Until(t, "the echo of what is typed", 10*time.Second, rig.Shows("echo is on"))
}

// onTerminal starts a run of the crowded scenario, and waits until the view shows its devices.
func onTerminal(t *testing.T, term *rig.Terminal, args ...string) *exec.Cmd {
	t.Helper()
	binary, dir := rig.Build(t), t.TempDir()
	args = append([]string{"run", writeScenario(t, dir, crowded), "--metrics-addr=", "--out="}, args...)
	cmd := term.Start(t, dir, []string{"TERM=xterm-256color", "CI="}, nil, binary, args...)
	term.Until(t, "the view", 40*time.Second, rig.Shows("40 of 40"))
	return cmd
}

// By keys one picks and opens a row, pauses the run, and stops it: after a question.
func TestTerminalKeys(t *testing.T) {
	t.Parallel()
	term := rig.NewTerminal(t, 80, 24)
	cmd := onTerminal(t, term)
	term.Type(t, "\x1b[B")
	term.Until(t, "a picked row", 20*time.Second, rig.Shows("›"))
	term.Type(t, "\r")
	term.Until(t, "its detail", 20*time.Second, rig.Shows("from sending"))
	term.Type(t, "\x1b")
	term.Until(t, "the view", 20*time.Second, rig.Shows("40 of 40"))
	term.Type(t, "py")
	term.Until(t, "the pause", 20*time.Second, rig.Shows("PAUSED"))
	term.Type(t, "p")
	term.Until(t, "the end of the pause", 20*time.Second, func(screen []string) bool { return !rig.Shows("PAUSED")(screen) && rig.Shows("40 of 40")(screen) })
	term.Type(t, "q")
	term.Until(t, "the question", 20*time.Second, rig.Shows("Stop the run?"))
	term.Type(t, "n")
	term.Until(t, "no question", 20*time.Second, func(screen []string) bool { return !rig.Shows("Stop the run?")(screen) })
	term.Type(t, "qy")
	if code := wait(t, term, cmd); code != 130 {
		t.Errorf("exit code %d", code)
	}
	term.Eventually(t, "the summary", 10*time.Second, func() bool { return rig.Shows("INTERRUPTED")(append(term.History(), term.Screen()...)) })
}

// A run that is killed leaves the terminal as it was: nothing that was typed, or will be, is lost or unseen.
func TestTerminalAfterAKill(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--alternate-screen"}} {
		term := rig.NewTerminal(t, 80, 24)
		before := term.Attributes(t)
		cmd := onTerminal(t, term, args...)
		if during := term.Attributes(t); during == before {
			t.Error("keys are not read one by one")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		term.Eventually(t, "the terminal is as it was", 20*time.Second, func() bool {
			return term.Attributes(t) == before && !term.CursorHidden() && !term.AlternateScreen()
		})
		term.Type(t, "echo is on")
		term.Until(t, "the echo of what is typed", 10*time.Second, rig.Shows("echo is on"))
	}
}

// However else a run ends, the terminal is as it was before.
func TestTerminalAfterSignals(t *testing.T) {
	t.Parallel()
	for _, signals := range [][]syscall.Signal{{syscall.SIGTERM}, {syscall.SIGHUP}, {syscall.SIGINT, syscall.SIGINT}, {syscall.SIGQUIT}, {syscall.SIGSEGV}} {
		term := rig.NewTerminal(t, 80, 24)
		before := term.Attributes(t)
		cmd := onTerminal(t, term)
		for _, s := range signals {
			if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
		wait(t, term, cmd)
		term.Eventually(t, "the terminal is as it was", 20*time.Second, func() bool { return term.Attributes(t) == before && !term.CursorHidden() })
	}
}

// Ctrl-Z gives the terminal to the shell, and fg takes it back; in between the shell's terminal is its own.
func TestTerminalStandsStill(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	binary, dir := rig.Build(t), t.TempDir()
	path := writeScenario(t, dir, crowded)
	term := rig.NewTerminal(t, 90, 30)
	shell := term.Start(t, dir, []string{"TERM=xterm", "CI=", "NO_COLOR=1", "PS1=prompt> "}, nil, bash, "--norc", "--noprofile", "-i")
	term.Until(t, "the prompt", 20*time.Second, rig.Shows("prompt>"))
	term.Type(t, binary+" run "+path+" --metrics-addr= --out=\n")
	term.Until(t, "the view", 40*time.Second, rig.Shows("40 of 40"))
	term.Type(t, "\x1a")
	stopped := regexp.MustCompile(`\[1\]\+ +Stopped`)
	term.Until(t, "the shell", 20*time.Second, func(screen []string) bool {
		return slices.ContainsFunc(screen, stopped.MatchString) && !rig.Shows("HOLDING")(screen)
	})
	term.Type(t, "echo seen$((1+1))\n")
	term.Until(t, "what the shell says", 20*time.Second, rig.Shows("seen2"))
	term.Type(t, "fg\n")
	term.Until(t, "the view once more", 20*time.Second, rig.Shows("40 of 40"))
	term.Type(t, "q")
	term.Until(t, "the question", 20*time.Second, rig.Shows("Stop the run?"))
	term.Type(t, "y")
	term.Eventually(t, "the summary", 30*time.Second, func() bool { return rig.Shows("INTERRUPTED")(append(term.History(), term.Screen()...)) })
	term.Type(t, "echo seen$((2+2)); exit 7\n")
	if code := wait(t, term, shell); code != 7 {
		t.Errorf("the shell ended with %d", code)
	}
	term.Until(t, "that the shell's line was whole", 20*time.Second, rig.Shows("seen4"))
}

// Where nobody can look at a picture there are plain lines: no escape sequences, one line a second.
func TestTerminalThatCannotBeDrawnOn(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	path := writeScenario(t, dir, crowded)
	for name, tt := range map[string]struct {
		environ []string
		width   int
		args    []string
	}{
		"dumb": {[]string{"TERM=dumb"}, 80, nil}, "ci": {[]string{"CI=true", "NO_COLOR=1"}, 80, nil},
		"narrow": {[]string{"NO_COLOR=1"}, 39, nil}, "plain": {[]string{"NO_COLOR=1"}, 80, []string{"--plain"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			term := rig.NewTerminal(t, tt.width, 24)
			environ := append([]string{"TERM=xterm", "CI="}, tt.environ...)
			cmd := term.Start(t, dir, environ, nil, binary, append([]string{"run", path, "--metrics-addr=", "--out=", "--set", "stages.hold.duration=2s"},
				tt.args...)...)
			if code := wait(t, term, cmd); code != 0 {
				t.Errorf("exit code %d", code)
			}
			term.Until(t, "the summary", 10*time.Second, func([]string) bool { return strings.Contains(term.Raw(), "PASSED") })
			if strings.Contains(term.Raw(), "\x1b") || !strings.Contains(term.Raw(), "stage 2 of 2: hold") {
				t.Errorf("%q", term.Raw())
			}
		})
	}
}

// NO_COLOR takes the colours and leaves the picture.
func TestTerminalWithoutColours(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	path := writeScenario(t, dir, crowded)
	term := rig.NewTerminal(t, 80, 24)
	cmd := term.Start(t, dir, []string{"TERM=xterm-256color", "CI=", "NO_COLOR=1"}, nil, binary, "run", path, "--metrics-addr=", "--out=",
		"--set", "stages.hold.duration=2s")
	term.Until(t, "the view", 30*time.Second, rig.Shows("▸ hold"))
	if code := wait(t, term, cmd); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if regexp.MustCompile(`\x1b\[[0-9;]*3[0-9]m`).MatchString(term.Raw()) {
		t.Error("colours in spite of NO_COLOR")
	}
}

// Programs read a line at a time while the terminal shows nothing.
func TestJSONLines(t *testing.T) {
	t.Parallel()
	binary, dir := rig.Build(t), t.TempDir()
	p := rig.Start(t, dir, nil, binary, "run", writeScenario(t, dir, crowded), "--metrics-addr=", "--json", "--set", "stages.hold.duration=2s")
	if code := p.Wait(t, time.Minute); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	kinds := map[string]int{}
	var last struct {
		Type    string
		Summary map[string]any
		Folder  string `json:"report_folder"`
	}
	for line := range strings.Lines(p.Stdout()) {
		last.Summary = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kinds[last.Type]++
	}
	if kinds["start"] != 1 || kinds["summary"] != 1 || kinds["progress"] < 3 || kinds["event"] < 4 || last.Type != "summary" {
		t.Errorf("%v, last %s\n%s", kinds, last.Type, p.Output())
	}
	b, err := os.ReadFile(filepath.Join(dir, last.Folder, "summary.json"))
	var file map[string]any
	if err != nil || json.Unmarshal(b, &file) != nil {
		t.Fatalf("summary.json: %v", err)
	}
	one, _ := json.Marshal(file)
	two, _ := json.Marshal(last.Summary)
	if string(one) != string(two) {
		t.Errorf("the last line is not summary.json:\n%s\n%s", one, two)
	}
}
