package write_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/write"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// Whatever names the records have, they are text in a comment.
func TestHostileNames(t *testing.T) {
	before, after := reporttest.Example(30), reporttest.Example(30)
	reporttest.Hostile(before)
	for _, c := range []*compare.Comparison{
		compare.Compare(before, before, compare.Options{}), compare.Compare(before, after, compare.Options{}), compare.Compare(after, before, compare.Options{}),
	} {
		var b strings.Builder
		if err := write.Markdown(&b, c, true); err != nil {
			t.Fatal(err)
		}
		reporttest.PlainMarkdown(t, b.String())
	}
	c := compare.Compare(before, before, compare.Options{})
	c.Notes = append(c.Notes, "the scenarios differ:\n-a\n+b\n```\n![x](http://e.example/x.png)")
	var b strings.Builder
	if err := write.Markdown(&b, c, true); err != nil {
		t.Fatal(err)
	}
	reporttest.PlainMarkdown(t, b.String())
}
