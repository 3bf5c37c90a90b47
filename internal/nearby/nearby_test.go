package nearby

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

func TestFind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hubs")
	ca, err := filepath.Abs("ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	mine := Hub{Address: "127.0.0.1:8883", CA: ca, PID: os.Getpid()}
	take, err := Leave(dir, 8883, mine)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file(dir, 8883)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	for _, tt := range []struct {
		host string
		port int
		want bool
	}{
		{"localhost", 8883, true},
		{"127.0.0.1", 8883, true},
		{"127.8.0.1", 8883, true},
		{"::1", 8883, true},
		{"localhost", 8884, false},
		{"hub.azure-devices.net", 8883, false},
		{"192.0.2.1", 8883, false},
		{"", 8883, false},
		{"localhost.evil.example", 8883, false},
	} {
		if h, ok := Find(dir, tt.host, tt.port); ok != tt.want || ok && h != mine {
			t.Errorf("%s:%d: %+v, %t", tt.host, tt.port, h, ok)
		}
	}
	if err := take(); err != nil {
		t.Error(err)
	}
	if _, ok := Find(dir, "localhost", 8883); ok {
		t.Error("a hub that took its word back is found")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// A hub that was killed leaves its file behind.
func TestStale(t *testing.T) {
	dir := t.TempDir()
	gone := exec.Command(os.Args[0], "-test.run=^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dead := Hub{CA: filepath.Join(dir, "ca.pem"), PID: gone.Process.Pid}
	take, err := Leave(dir, 1, dead)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := Find(dir, "localhost", 1); ok {
		t.Error("the hub of a process that is gone is found")
	}
	if _, err := Leave(dir, 2, Hub{CA: dead.CA, PID: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file(dir, 1)); !os.IsNotExist(err) {
		t.Errorf("the next hub leaves a stale word there: %v", err)
	}
	mine := Hub{CA: dead.CA, PID: os.Getpid()}
	if _, err := Leave(dir, 1, mine); err != nil {
		t.Fatal(err)
	}
	if err := take(); err != nil {
		t.Error(err)
	}
	if h, ok := Find(dir, "localhost", 1); !ok || h != mine {
		t.Errorf("the older hub took the newer's word: %+v, %t", h, ok)
	}
	for name, text := range map[string]string{"none": "", "no JSON": "{", "relative": `{"ca":"ca.pem","pid":1}`} {
		if err := os.WriteFile(file(dir, 1), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := Find(dir, "localhost", 1); ok {
			t.Errorf("%s: a hub is found", name)
		}
	}
}

func TestOthersMayNotWriteIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	dir := t.TempDir()
	if _, err := Leave(dir, 1, Hub{CA: filepath.Join(dir, "ca.pem"), PID: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file(dir, 1), 0o666); err != nil {
		t.Fatal(err)
	}
	if h, ok := Find(dir, "localhost", 1); ok {
		t.Errorf("%+v is found in a file that anybody may write", h)
	}
}
