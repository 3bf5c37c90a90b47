package markdown_test

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report/markdown"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Golden(t, "testdata/report.md.golden", func(w io.Writer) error { return markdown.Write(w, run) })
}

// Whatever names a record has, they are text.
func TestHostileNames(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Hostile(run)
	var b strings.Builder
	if err := markdown.Write(&b, run); err != nil {
		t.Fatal(err)
	}
	reporttest.PlainMarkdown(t, b.String())
}

// The agents of a run on many machines are a table, those in trouble first.
func TestGoldenWithAgents(t *testing.T) {
	run := reporttest.Well(10)
	run.Agents = reporttest.Agents(30)
	reporttest.Golden(t, "testdata/agents.md.golden", func(w io.Writer) error { return markdown.Write(w, run) })
}

// What agents call themselves, and why they were lost, is text.
func TestHostileAgents(t *testing.T) {
	run := reporttest.Well(10)
	run.Agents = reporttest.Agents(5)
	reporttest.Hostile(run)
	var b strings.Builder
	if err := markdown.Write(&b, run); err != nil {
		t.Fatal(err)
	}
	reporttest.PlainMarkdown(t, b.String())
}
