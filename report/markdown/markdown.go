// Package markdown writes a run in Markdown, for a comment on a pull request.
package markdown

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/purchase"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// Write writes the run for a comment on a pull request.
func Write(w io.Writer, r *report.Run) error { return WriteWith(w, r, nil) }

// WriteWith is Write with percentiles of one's choice.
func WriteWith(w io.Writer, r *report.Run, p account.Percentiles) error {
	b := &strings.Builder{}
	mark := map[bool]string{true: "✅", false: "❌"}
	client := ""
	if r.Client != "" {
		client = ", client " + cell(r.Client)
	}
	fmt.Fprintf(b, "### %s %s: %s\n\n%s, %s%s, %s, seed %d\n", mark[r.Outcome == report.Passed], cell(r.Name), r.Headline(), r.DevicesText(),
		cell(r.Target), client, human.Duration(r.Duration()), r.Seed)
	if r.Reason != "" {
		fmt.Fprintf(b, "\n%s\n", cell(r.Reason))
	}
	if len(r.Thresholds) > 0 {
		b.WriteString("\n| | threshold | observed |\n|---|---|---|\n")
		for _, v := range r.Thresholds {
			sign, observed := mark[v.Pass], v.Observed
			if missed := r.MissedText(&v); missed != "" {
				observed += "; " + missed
			}
			if v.CannotSay {
				sign, observed = "❔", observed+": cannot say, the load was not the one asked for"
			}
			fmt.Fprintf(b, "| %s | %s | %s |\n", sign, clean.MarkdownCode(v.Threshold), cell(observed))
		}
	}
	times := p.Headings()
	fmt.Fprintf(b, "\n| operation | count | rate | throttled | errors | %s |\n|---|--:|--:|--:|--:%s|\n", strings.Join(times, " | "), strings.Repeat("|--:", len(times)))
	for _, l := range account.Lines(r.Totals) {
		fmt.Fprintf(b, "| %s |\n", strings.Join(clean.MarkdownCells(l.Cells(r, p)), " | "))
	}
	writeAccounts(b, r, p)
	for _, line := range findings.Queries(r) {
		fmt.Fprintf(b, "\n%s\n", cell(line))
	}
	worst, more := findings.Outages(r)
	for _, o := range worst {
		fmt.Fprintf(b, "\n%s\n", cell(o.String()))
		if back := o.Return(); back != "" {
			fmt.Fprintf(b, "%s\n", cell(back))
		}
	}
	if more != "" {
		fmt.Fprintf(b, "\n%s\n", cell(more))
	}
	if board := r.Board(); board != "" {
		fmt.Fprintf(b, "\n[the run on its board](<%s>)\n", board)
	}
	if r.Generator != nil {
		for _, line := range r.GeneratorLines() {
			fmt.Fprintf(b, "\nGenerator: %s\n", cell(line))
		}
	}
	writeAgents(b, r)
	for _, f := range findings.Of(r) {
		fmt.Fprintf(b, "\n%s %s\n", map[findings.Mark]string{findings.Good: "✅", findings.Bad: "❌", findings.Warn: "⚠️", findings.None: "▫️"}[f.Mark], cell(f.Text))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "\n⚠️ %s\n", cell(n))
	}
	if r.Purchase != nil {
		fmt.Fprintf(b, "\n<details><summary>What to buy: %s</summary>\n\n", cell(purchase.Headline(r.Purchase)))
		if err := purchase.Markdown(b, r.Purchase); err != nil {
			return err
		}
		b.WriteString("\n</details>\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell is a text as clean.Markdown makes it; a dash stands for none.
func cell(s string) string { return clean.Markdown(cmp.Or(s, "–")) }

// writeAccounts says what became of everything that was scheduled, and why some of it ended badly.
func writeAccounts(b *strings.Builder, r *report.Run, p account.Percentiles) {
	fmt.Fprintf(b, "\nScheduled %s\n", cell(fmt.Sprint(account.OfRun(r))))
	row := func(cells ...string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	for _, t := range account.Tables(r, p) {
		fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n", t.Title)
		row(t.Columns...)
		names := 1
		if t.Parts {
			names = 2
		}
		fmt.Fprintf(b, "|%s%s\n", strings.Repeat("---|", names), strings.Repeat("--:|", len(t.Columns)-names))
		for _, x := range t.Rows {
			cells := clean.MarkdownCells(x.Cells)
			if t.Parts {
				cells = append([]string{""}, cells...)
			}
			if x.Part != "" {
				cells[0] = "**" + cell(x.Part) + "**"
			}
			row(cells...)
		}
		b.WriteString("\n</details>\n")
	}
	parts := reasons.Parts(r)
	if len(parts) == 0 {
		return
	}
	b.WriteString("\n| count | operation | what happened | group | stage |\n|--:|---|---|---|---|\n")
	const most = 20
	for _, e := range parts[:min(len(parts), most)] {
		row(human.Count(e.Count), string(e.Operation), cell(e.Text()), cell(e.Group), cell(e.Stage))
	}
	if more := len(parts) - most; more > 0 {
		row(fmt.Sprintf("%d more", more), "", "", "", "")
	}
}

// mostAgents is how many agents are shown: those in trouble first.
const mostAgents = 20

// writeAgents says how the agents of a run on many machines were.
func writeAgents(b *strings.Builder, r *report.Run) {
	if len(r.Agents) == 0 {
		return
	}
	rows, more := agents.Worst(r.Agents, mostAgents)
	mark := map[agents.State]string{agents.Lost: "❌", agents.Slow: "❌", agents.Unsure: "⚠️", agents.Well: "✅"}
	columns := agents.Columns()
	fmt.Fprintf(b, "\n<details><summary>Agents: %s</summary>\n\n| | %s |\n|---|---%s|---|\n", cell(agents.Headline(r.Agents)), strings.Join(columns, " | "),
		strings.Repeat("|--:", len(columns)-2))
	for _, x := range rows {
		fmt.Fprintf(b, "| %s | %s |\n", mark[x.State], strings.Join(clean.MarkdownCells(x.Cells), " | "))
	}
	if more != "" {
		fmt.Fprintf(b, "\n%s; summary.json has all\n", cell(more))
	}
	b.WriteString("\n</details>\n")
}
