package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who takes a run over writes beside what the process wrote that is gone, as often as it is taken over; any other run is told that the file is there.
func TestRawName(t *testing.T) {
	dir := t.TempDir()
	name := func(x string) string { return filepath.Join(dir, x) }
	for _, x := range []struct {
		takenOver bool
		want      string
	}{
		{true, "raw.csv.gz"}, // nothing is there
		{true, "raw-resumed.csv.gz"},
		{true, "raw-resumed-2.csv.gz"},
		{false, "raw.csv.gz"},
	} {
		got := rawName(name("raw.csv.gz"), x.takenOver)
		if got != name(x.want) {
			t.Errorf("%s; want %s", got, name(x.want))
		}
		if err := os.WriteFile(got, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []string{"raw.csv.gz/raw.csv.gz", strings.Repeat("x", 300) + ".csv.gz"} { // nothing can be there
		if got := rawName(name(x), true); got != name(x) {
			t.Errorf("%s; want %s", got, name(x))
		}
	}
	if got := rawName("", true); got != "" {
		t.Errorf("%q is written though no file was asked for", got)
	}
}
