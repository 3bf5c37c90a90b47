package record_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// A run is kept while it goes on, and read afterwards, also when its program was killed in between.
func Example() {
	root, err := os.MkdirTemp("", "runs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	h := reporttest.Example(3)
	w, err := record.Create(root, h.Run, []byte("name: example\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range h.Samples { // in a run: once a second
		w.Sample(s)
	}
	// The program is killed here: no w.End.
	back, err := record.Read(w.Dir())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(filepath.Base(w.Dir()), len(back.Samples), back.Whole, back.Run.Outcome)
	// Output: 20261125-120000-example 3 false interrupted
}
