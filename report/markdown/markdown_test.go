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
