package wholefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"one", "", strings.Repeat("two", 1<<16)} {
		if err := Replace(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, path, text)
	}
	if err := Create(path, []byte("three"), 0o600); !errors.Is(err, os.ErrExist) {
		t.Errorf("creating what is there: %v", err)
	}
	check(t, path, strings.Repeat("two", 1<<16))
}

// What cannot be put in its place leaves what was there, and nothing aside.
func TestFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v; want the directory alone", left, err)
	}
	if err := Replace(filepath.Join(dir, "none", "f"), nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into no directory: %v", err)
	}
}

func check(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err != nil || statErr != nil || string(b) != text || info.Mode().Perm() != 0o600 {
		t.Fatalf("%d bytes, %v, %v; want %d", len(b), err, info, len(text))
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Fatalf("%v, %v; want the file alone", left, err)
	}
}
