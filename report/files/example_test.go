package files_test

import (
	"fmt"
	"os"

	"github.com/twinfleet/twinfleet/report/files"
	"github.com/twinfleet/twinfleet/report/record"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// Every report is made from the record alone.
func ExampleWrite() {
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
	if err := w.End(h.Run); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := files.Write(w.Dir()); err != nil {
		fmt.Println(err)
	}
	fmt.Println(files.Existing(w.Dir()))
	// Output: [report.html summary.json junit.xml report.md]
}
