package regular_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/regular"
)

// Every way of reading refuses what is too large, and takes what is just not.
func TestReadIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("12345678"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, read := range []func(string, int64) ([]byte, error){regular.Read, regular.ReadGiven} {
		if b, err := read(name, 8); err != nil || string(b) != "12345678" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := read(name, 7); err == nil || !strings.Contains(err.Error(), name+" has more than 7 bytes") {
			t.Errorf("%v; want that it has too many bytes", err)
		}
		if _, err := read(name+"-not-there", 7); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v; want that it is not there", err)
		}
		if _, err := read(filepath.Dir(name), 7); !errors.Is(err, regular.ErrFolder) || !strings.HasSuffix(err.Error(), "is no regular file but a folder") {
			t.Errorf("%v; want that it is a folder", err)
		}
	}
	if err := regular.Check(name, 0); err != nil {
		t.Errorf("without a bound: %v", err)
	}
}
