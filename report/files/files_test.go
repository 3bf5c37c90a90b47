package files_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/report/files"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// One report that cannot be written does not take the others with it, and is not named.
func TestWriteWhatCanBe(t *testing.T) {
	h := reporttest.Example(3)
	w, err := record.Create(t.TempDir(), h.Run, []byte("name: example\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range h.Samples {
		w.Sample(s)
	}
	if err := w.End(h.Run); err != nil {
		t.Fatal(err)
	}
	if got := files.Existing(w.Dir()); len(got) != 0 {
		t.Errorf("reports before they are made: %v", got)
	}
	if err := os.MkdirAll(filepath.Join(w.Dir(), files.HTML, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Write(w.Dir()); err == nil {
		t.Error("the page was written where a folder is")
	}
	if got, want := files.Existing(w.Dir()), []string{files.JSON, files.JUnit, files.Markdown}; !slices.Equal(got, want) {
		t.Errorf("there are %v; want %v", got, want)
	}
	if left, _ := filepath.Glob(filepath.Join(w.Dir(), "*.html.*")); len(left) != 0 {
		t.Errorf("half a page is left: %v", left)
	}
	if err := os.RemoveAll(filepath.Join(w.Dir(), files.HTML)); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Write(w.Dir()); err != nil || len(files.Existing(w.Dir())) != 4 {
		t.Errorf("%v, %v", err, files.Existing(w.Dir()))
	}
}
