package markdown_test

import (
	"flag"
	"io"
	"testing"

	"github.com/twinfleet/twinfleet/report/markdown"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	run := reporttest.Example(10).Run
	reporttest.Golden(t, "testdata/report.md.golden", func(w io.Writer) error { return markdown.Write(w, run) })
}
