package summary_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"reflect"
	"testing"

	"github.com/twinfleet/twinfleet/report/reporttest"
	"github.com/twinfleet/twinfleet/report/summary"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Golden(t, "testdata/summary.json.golden", func(w io.Writer) error { return summary.Write(w, run) })
}

// Programs read back what was written for them.
func TestMachineReadable(t *testing.T) {
	run := reporttest.Example(5).Run
	var text bytes.Buffer
	if err := summary.Write(&text, run); err != nil {
		t.Fatal(err)
	}
	var back summary.Summary
	dec := json.NewDecoder(&text)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if want := summary.Of(run); !reflect.DeepEqual(back, want) {
		t.Errorf("%+v; want %+v", back, want)
	}
}
