package launch

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	redacted = "redacted"
	// mostLine is how many bytes of a line are kept.
	mostLine = 4096
)

// lines keeps the last lines of a process, without its secrets.
type lines struct {
	most    int
	secrets []string // the longest first
	told    func(line string)

	mu      sync.Mutex
	all     []string
	crash   []string // from the line on with which the Go runtime begins to say why it ends the process; as many lines as of all
	streams []*stream
}

// secretsOf are the texts that must not be shown of a command: secrets with several lines are said a line at a time.
func secretsOf(c *Command) (all []string) {
	for _, s := range c.Secrets {
		for line := range strings.Lines(string(s)) {
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, line)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return all
}

// stream is one of the two outputs of a process: lines of both are not mixed.
type stream struct {
	to   *lines
	line []byte
}

func (l *lines) stream() *stream {
	s := &stream{to: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams = append(l.streams, s)
	return s
}

// Write takes what the process says. Of a line that is too long the rest is left out.
func (s *stream) Write(b []byte) (int, error) {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	for rest := b; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		s.line = append(s.line, part[:min(len(part), max(0, s.to.room()-len(s.line)))]...)
		if ended {
			s.end()
		}
		rest = after
	}
	return len(b), nil
}

// room is how much of a line is looked at: a secret that begins within what is kept is seen as a whole.
func (l *lines) room() int {
	if len(l.secrets) == 0 {
		return mostLine
	}
	return mostLine + len(l.secrets[0])
}

// end is the end of a line. The caller has the lock.
func (s *stream) end() {
	line := strings.ToValidUTF8(strings.TrimSuffix(string(s.line), "\r"), "�")
	s.line = s.line[:0]
	for _, secret := range s.to.secrets {
		line = strings.ReplaceAll(line, secret, "***")
	}
	if len(line) > mostLine {
		line = strings.ToValidUTF8(line[:mostLine], "") + "…"
	}
	if len(s.to.all) == s.to.most {
		s.to.all = append(s.to.all[:0], s.to.all[1:]...)
	}
	s.to.all = append(s.to.all, line)
	if len(s.to.crash) < s.to.most && (len(s.to.crash) > 0 || crashes(line)) {
		s.to.crash = append(s.to.crash, line)
	}
	s.to.told(line)
}

// crashes reports whether with a line the Go runtime begins to say why it ends a process; what thousands of goroutines did follows.
func crashes(line string) bool {
	return slices.ContainsFunc([]string{"panic: ", "fatal error: ", "runtime: ", "runtime/cgo: ", "SIGABRT: ", "SIGQUIT: ", "ThreadSanitizer: "}, func(begin string) bool {
		return strings.HasPrefix(line, begin)
	})
}

// flush ends lines that have no end.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		if len(s.line) > 0 {
			s.end()
		}
	}
}

func (l *lines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

func (l *lines) crashed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.crash)
}

// follower reads a file to which a process writes. Nobody tells when it has: it looks.
type follower struct {
	file *os.File
	to   io.Writer
	over chan struct{} // closed when the process has ended
	done chan error    // when all is read
	// running tells whether anybody runs it, which is so from before the process can end.
	running bool
}

// look is how often: a start is not noticeably later by it.
const look = 20 * time.Millisecond

// newFollower opens a file that is appended to from now on.
func newFollower(path string, to io.Writer) (*follower, *os.File, error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a file for what it says: %w", err)
	}
	in, err := os.Open(path)
	if err == nil {
		_, err = in.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("reading what it says: %w", err), out.Close())
	}
	return &follower{file: in, to: to, over: make(chan struct{}), done: make(chan error, 1)}, out, nil
}

// run reads until the process has ended.
func (f *follower) run() {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		over := false
		select {
		case <-f.over:
			over = true
		case <-tick.C:
		}
		_, err := io.Copy(f.to, f.file)
		if over || err != nil {
			f.done <- err
			return
		}
	}
}

// stop waits until all is read that there is. It may be called of none, and once.
func (f *follower) stop() error {
	if f == nil {
		return nil
	}
	close(f.over)
	var err error
	if f.running {
		err = <-f.done
	}
	return errors.Join(err, f.file.Close())
}
