//go:build unix

package terminal

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// guard is a little program that gives the terminal back when this process is killed and cannot do so itself. It waits for the end of
// a pipe, and does nothing when it was dismissed, or when somebody else, such as a shell, has set the terminal since. A nil guard
// is none: without /bin/sh and stty the terminal is left to the shell.
type guard struct {
	cmd  *exec.Cmd
	line *os.File
}

// guardScript has the flags for stty as $1, and what is to be written to the terminal as $2.
const guardScript = `trap '' HUP INT QUIT TERM TSTP TTIN TTOU
read -r x <&3 || exit 0
held=$(stty -g) || exit 0
read -r x <&3 && exit 0
[ "$(stty -g)" = "$held" ] && stty $1
printf "$2"`

// newGuard starts a guard of a screen and its keys.
func newGuard(screen Screen, keys *tty) *guard {
	if keys == nil || len(keys.flags()) == 0 {
		return nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer read.Close()
	restore := `\033[?25h`
	if screen.Alternate {
		restore += `\033[?1049l`
	}
	cmd := exec.Command("/bin/sh", "-c", guardScript, "twinfleet-terminal-guard", strings.Join(keys.flags(), " "), restore)
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = screen.In, screen.Out, []*os.File{read}
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin:/usr/local/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C and Ctrl-Z are not for it
	if cmd.Start() != nil {
		write.Close()
		return nil
	}
	return &guard{cmd, write}
}

// watch tells the guard that the terminal is held now.
func (g *guard) watch() {
	if g != nil {
		_, _ = g.line.WriteString("held\n")
	}
}

// dismiss ends the guard: the terminal was given back.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	_, _ = g.line.WriteString("given back\n")
	_ = g.line.Close()
	_ = g.cmd.Wait()
}
