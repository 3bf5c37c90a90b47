package write

import (
	"fmt"
	"io"
	"strings"

	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/compare"
)

// Markdown writes a comparison for a comment on a pull request.
func Markdown(w io.Writer, c *compare.Comparison, all bool) error {
	b := &strings.Builder{}
	mark := map[compare.Answer]string{compare.SomethingWorse: "❌", compare.NothingWorse: "✅", compare.CannotTell: "⚠️"}[c.Answer()]
	fmt.Fprintf(b, "## %s %s\n\n- before: %s\n- after: %s\n", mark, clean.Markdown(c.Sentence()), clean.Markdown(headline(c.Before)), clean.Markdown(headline(c.After)))
	for _, n := range warnings(c) {
		text, lines, found := strings.Cut(n, "\n")
		fmt.Fprintf(b, "- %s\n", clean.Markdown(text))
		if found {
			fmt.Fprintf(b, "\n  ```diff\n  %s\n  ```\n", strings.NewReplacer("\n", "\n  ", "`", "'").Replace(lines)) // no line ends the block
		}
	}
	if rows := shown(c, all); len(rows) > 0 {
		fmt.Fprintf(b, "\n| %s |\n|---|---|---:|---:|---:|---:|---|\n", strings.Join(heading(), " | "))
		for _, r := range rows {
			fmt.Fprintf(b, "| %s |\n", strings.Join(clean.MarkdownCells(columns(&r)), " | "))
		}
	}
	b.WriteString("\n")
	for _, line := range remarks(c, false) {
		fmt.Fprintf(b, "%s  \n", clean.Markdown(line))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
