package keyfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
)

func devicesOf(t *testing.T, ids ...string) []connstring.Device {
	t.Helper()
	var out []connstring.Device
	for _, id := range ids {
		c, err := connstring.ParseDevice(row(id))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func idsIn(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	devices, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(devices))
	for i, d := range devices {
		ids[i] = d.DeviceID
	}
	return strings.Join(ids, " ")
}

// A file is continued where it was cut short, put in order at the end, and never readable by others.
func TestOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.jsonl")
	o, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Add(devicesOf(t, "c", "x")); err != nil {
		t.Fatal(err)
	}
	o.Close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"connectionString":"HostNa`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if o, err = Open(path); err != nil {
		t.Fatal(err)
	}
	if !o.Has("c") || o.Has("a") {
		t.Error("the file does not know what it holds")
	}
	if err := o.Add(devicesOf(t, "a", "b")); err != nil {
		t.Fatal(err)
	}
	if got := idsIn(t, path); got != "c x a b" {
		t.Errorf("continued: %s", got)
	}
	if err := o.Sort([]string{"a", "b", "c", "d"}); err != nil {
		t.Fatal(err)
	}
	o.Close()
	if got := idsIn(t, path); got != "a b c x" {
		t.Errorf("sorted: %s", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	left, err := filepath.Glob(path + ".*")
	if err != nil || len(left) > 0 {
		t.Errorf("left beside it: %v", left)
	}
	for _, text := range []string{"id,key\n", "{\"connectionString\":\"x\"}\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil {
			t.Errorf("%q was continued", text)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("a file that is not ours was changed: %q", b)
		}
	}
}
