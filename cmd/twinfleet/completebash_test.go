//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// shell is an interactive bash without anybody's settings, on a terminal of its own.
type shell struct {
	tb   testing.TB
	tty  *os.File
	mu   sync.Mutex
	said bytes.Buffer
}

func newShell(t *testing.T, dir string) *shell {
	t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc", "-i")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PS1=$ ", "TERM=dumb", "HISTFILE=", "INPUTRC=/dev/null", "LC_ALL=C.UTF-8")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 160})
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{tb: t, tty: tty}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			s.mu.Lock()
			s.said.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // who has ended needs no killing
		_ = cmd.Wait()
		tty.Close()
		<-ended
	})
	return s
}

// types sends keys and waits until the shell shows a text; what it showed since is returned.
func (s *shell) types(keys, want string) string {
	s.tb.Helper()
	s.mu.Lock()
	s.said.Reset()
	s.mu.Unlock()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.tb.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		said := s.said.String()
		s.mu.Unlock()
		if strings.Contains(said, want) {
			return said
		}
		if time.Now().After(deadline) {
			s.tb.Fatalf("%q: after a minute the shell shows %q; want %q", keys, said, want)
		}
	}
}

// TAB completes in a bash that has no package bash-completion, with nothing but what it completes; where there is one, that splits
// the words.
func TestBashCompletes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"mine.yaml": "fleet: {groups: [{name: pumps}, {name: valves}]}\nstages: [{name: hold, duration: 1s}]\n", "odd:name.yaml": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newShell(t, dir)
	s.types("unset -f _init_completion _get_comp_words_by_ref; complete -r; source <(twinfleet completion bash); echo rea''dy\r", "ready\r\n")
	for keys, want := range map[string]string{
		"twinfleet vali":                                "date ",
		"twinfleet run connec":                          "tivity ",
		"  twinfleet   run   min":                       "e.yaml ",
		"twinfleet init --template st":                  "orm ",
		"twinfleet init --template=st":                  "orm ",
		"twinfleet run mine.yaml --set fleet.groups.pu": "mps.",
		"twinfleet run mine.yaml --set=fleet.groups.pu": "mps.",
		"twinfleet validate mine.yaml odd:":             "name.yaml ",
	} {
		said := s.types(keys+"\t", keys+want)
		if strings.Contains(said, "bash:") || strings.Contains(said, "not found") {
			t.Errorf("%q: the shell says %q", keys, said)
		}
		s.types("\x15\r", "$ ") // a new line
	}
	const back = "\x02"
	// The cursor stands within the line: what follows stays.
	s.types("twinfleet vali mine.yaml"+strings.Repeat(back, len(" mine.yaml"))+"\t\x05 #\r", "twinfleet validate mine.yaml #")

	s.types("_get_comp_words_by_ref() { touch asked; words=(\"${COMP_WORDS[@]}\"); cword=$COMP_CWORD; cur=${words[cword]}; }; echo se''t\r", "set\r\n")
	s.types("twinfleet vali\t", "twinfleet validate ")
	if _, err := os.Stat(filepath.Join(dir, "asked")); err != nil {
		t.Errorf("the package's own function is not asked: %v", err)
	}
}

// Only bash-completion itself can list files of a kind, so no flag asks for that: completeScenarios and completeRuns find them.
func TestNoFlagWantsBashCompletion(t *testing.T) {
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			for _, kind := range []string{cobra.BashCompFilenameExt, cobra.BashCompSubdirsInDir} {
				if _, ok := f.Annotations[kind]; ok {
					t.Errorf("%s --%s", c.CommandPath(), f.Name)
				}
			}
		})
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(newRoot(system()))
}
