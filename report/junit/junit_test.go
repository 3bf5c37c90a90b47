package junit_test

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"testing"

	"github.com/twinfleet/twinfleet/report/junit"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Golden(t, "testdata/junit.xml.golden", func(w io.Writer) error { return junit.Write(w, run) })
}

// Programs read back what was written for them.
func TestMachineReadable(t *testing.T) {
	run := reporttest.Example(5).Run
	var text bytes.Buffer
	if err := junit.Write(&text, run); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(text.Bytes(), &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != len(suite.Cases) || suite.Tests != 4 || suite.Failures != 1 {
		t.Errorf("%+v", suite)
	}
}

// The agents of a run on many machines are properties of the suite.
func TestGoldenWithAgents(t *testing.T) {
	run := reporttest.Well(10)
	run.Agents = reporttest.Agents(4)
	reporttest.Golden(t, "testdata/agents.xml.golden", func(w io.Writer) error { return junit.Write(w, run) })
}
