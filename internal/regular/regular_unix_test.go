//go:build unix

package regular_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twinfleet/twinfleet/internal/regular"
)

// What is no regular file is refused before it is opened: a pipe that nobody writes would be waited for until the test times out.
func TestOtherKindsAreRefused(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink(pipe, link)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{pipe: "but a pipe", link: "but a pipe", "/dev/zero": "but a device"} {
		_, open := regular.Open(name)
		_, read := regular.Read(name, 8)
		_, given := regular.ReadGiven(name, 8)
		for _, err := range []error{open, read, given, regular.Check(name, 0), regular.CheckGiven(name, 0)} {
			if !errors.Is(err, regular.ErrKind) || !strings.HasPrefix(err.Error(), name+" is no regular file ") || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s: %v; want %s", name, err, want)
			}
		}
	}
}

// What a shell hands over is read whatever it is, to its end or its bound, when a user gave it; a file that another file names is not.
func TestHandedOver(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("12345678"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	name := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(name); err != nil {
		t.Skip("this system has no /dev/fd")
	}
	if _, err := regular.Read(name, 8); !errors.Is(err, regular.ErrKind) {
		t.Errorf("in a file: %v", err)
	}
	if b, err := regular.ReadGiven(name, 8); err != nil || string(b) != "12345678" {
		t.Errorf("%q, %v", b, err)
	}
}
