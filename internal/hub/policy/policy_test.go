package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Keys stay the same over restarts; a file that holds none is an error that says what to do, and is left as it is.
func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	made, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil || again["iothubowner"] != made["iothubowner"] || len(again) != 5 {
		t.Errorf("%d policies, %v", len(again), err)
	}
	for name, text := range map[string]string{"empty": "", "null": "null", "cut short": string(whole[:len(whole)/2]), "another's": "[1]"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Errorf("no keys yet: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v; want the file alone", left, err)
	}
}
