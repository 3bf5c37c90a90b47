package reporttest

import (
	"bytes"
	"flag"
	"io"
	"os"
	"testing"
)

// Golden compares what a report writes with a file. With -update, a flag of the test that calls it, the file is written anew.
func Golden(t testing.TB, path string, write func(io.Writer) error) {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	if update := flag.Lookup("update"); update != nil && update.Value.String() == "true" {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s (%v): %s", path, err, got.Bytes())
	}
}
