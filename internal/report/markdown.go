package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/twinfleet/twinfleet/metrics"
)

// WriteMarkdown writes the run for a comment on a pull request.
func WriteMarkdown(w io.Writer, r *Run) error {
	b := &strings.Builder{}
	mark := map[bool]string{true: "✅", false: "❌"}
	fmt.Fprintf(b, "### %s %s: %s\n\n%s, %s, %s, seed %d\n", mark[r.Outcome == Passed], cell(r.Name), r.Outcome, r.DevicesText(), cell(r.Target), Duration(r.Duration()), r.Seed)
	if r.Reason != "" {
		fmt.Fprintf(b, "\n%s\n", cell(r.Reason))
	}
	if len(r.Thresholds) > 0 {
		b.WriteString("\n| | threshold | observed |\n|---|---|---|\n")
		for _, v := range r.Thresholds {
			fmt.Fprintf(b, "| %s | `%s` | %s |\n", mark[v.Pass], strings.NewReplacer("|", "\\|", "`", "'").Replace(v.Threshold), cell(v.Observed))
		}
	}
	b.WriteString("\n| operation | count | rate | throttled | errors | p50 | p95 | p99 | max |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, l := range Lines(r.Totals) {
		fmt.Fprintf(b, "| %s |\n", strings.Join(l.cells(r), " | "))
	}
	markdownAccounts(b, r)
	for _, line := range QueryLines(r) {
		fmt.Fprintf(b, "\n%s\n", cell(line))
	}
	for _, o := range r.Outages {
		fmt.Fprintf(b, "\n%s\n", o)
		if back := o.Return(); back != "" {
			fmt.Fprintf(b, "%s\n", back)
		}
	}
	if r.Generator != nil {
		fmt.Fprintf(b, "\nGenerator: %s\n", cell(r.GeneratorLine()))
	}
	for _, f := range Findings(r) {
		fmt.Fprintf(b, "\n%s %s\n", map[Mark]string{MarkGood: "✅", MarkBad: "❌", MarkWarn: "⚠️", MarkNone: "▫️"}[f.Mark], cell(f.Text))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "\n⚠️ %s\n", cell(n))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell is text that cannot break out of a table or a line.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;", "`", "'").Replace(cmp.Or(s, "–"))
}

// markdownAccounts says what became of everything that was scheduled, and why some of it ended badly.
func markdownAccounts(b *strings.Builder, r *Run) {
	fmt.Fprintf(b, "\nScheduled %s\n", AccountOf(ofSnapshot(r.Totals)...))
	row := func(cells ...string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	for _, t := range []struct {
		title, column string
		parts         []Part
	}{{"By stage", "stage", Stages(r)}, {"By group", "group", Groups(r)}} {
		if len(t.parts) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n", t.title)
		row(append([]string{t.column, "operation"}, accountColumns()...)...)
		fmt.Fprintf(b, "|---|---|%s\n", strings.Repeat("--:|", len(accountColumns())))
		for _, p := range t.parts {
			row(append([]string{"**" + cell(p.Name) + "**", ""}, p.cells()...)...)
			for _, l := range p.Lines {
				row(append([]string{"", cell(l.Name)}, AccountOf(l.Series).cells()...)...)
			}
		}
		b.WriteString("\n</details>\n")
	}
	parts := ErrorParts(r)
	if len(parts) == 0 {
		return
	}
	b.WriteString("\n| count | operation | what happened | group | stage |\n|--:|---|---|---|---|\n")
	const most = 20
	for _, e := range parts[:min(len(parts), most)] {
		row(count(e.Count), string(e.Operation), cell(e.Text()), cell(e.Group), cell(e.Stage))
	}
	if more := len(parts) - most; more > 0 {
		row(fmt.Sprintf("%d more", more), "", "", "", "")
	}
}

// accountColumns are the columns of a table of accounts.
func accountColumns() []string {
	columns := []string{"scheduled"}
	for _, o := range metrics.Outcomes() {
		columns = append(columns, o.String())
	}
	return append(columns, "dropped", "late")
}

// cells are the account as a row of such a table; what is nothing is left blank.
func (a Account) cells() []string {
	cells := []string{count(a.Scheduled)}
	number := func(n uint64) {
		text := ""
		if n > 0 {
			text = count(n)
		}
		cells = append(cells, text)
	}
	for _, o := range metrics.Outcomes() {
		number(a.Outcomes[o])
	}
	cells = append(cells, a.Why())
	number(a.Late)
	return cells
}
