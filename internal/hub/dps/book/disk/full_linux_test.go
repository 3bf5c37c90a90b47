package disk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// childDir is the data directory of the process that may write files of one page only.
const childDir = "TWINFLEET_TEST_DPS_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: 4096}); err != nil {
		panic(err)
	}
	d, err := Open(dir, "s")
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(3)
	}
	_ = d.Close()
}

// A first start on a full disk leaves no half of a file: the next one, with room, makes it.
func TestFirstStartOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), childDir+"="+dir)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil || c.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "making "+filepath.Join(dir, FileName)) {
		t.Fatalf("the first: %v, %s", err, out)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	d, err := Open(dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file that is none tells what can be done about it.
func TestDamageTellsItsRemedy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(strings.Repeat("no data file ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "s"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("%v", err)
	}
}
