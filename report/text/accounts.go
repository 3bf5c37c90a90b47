package text

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// Account is what became of the operations, and why some ended badly, as text.
func Account(r *report.Run) string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n%s\n", r.DevicesText())
	writeAccounts(b, r)
	for _, x := range reasons.Of(r) {
		fmt.Fprintf(b, "  %s %s · %s\n", human.Count(x.Count), x.Text, x.Where())
	}
	writeGenerator(b, r, color.Style{})
	return b.String()
}

// maxParts is how many lines the summary gives to operations, stages and groups each; the other reports have all.
const maxParts = 6

// writeAccounts says what became of everything that was scheduled: all together, then the operations, stages and groups
// of which not everything was done.
func writeAccounts(b *strings.Builder, r *report.Run) {
	fmt.Fprintf(b, "  scheduled %s\n", account.OfRun(r))
	type row struct{ name, text string }
	var rows []row
	var well []string
	add := func(kind string, parts []account.Part) {
		told := 0
		for _, p := range parts {
			name := kind + p.Name
			if p.Name == account.Outside {
				name = account.Outside
			}
			if p.Well() {
				well = append(well, name+" "+human.Count(p.Scheduled))
			} else if told++; told <= maxParts {
				rows = append(rows, row{name, p.String()})
			}
		}
		if told > maxParts {
			rows = append(rows, row{fmt.Sprintf("and %d more", told-maxParts), ""})
		}
	}
	var operations []account.Part
	var late []string
	var lates uint64
	for _, l := range account.Lines(r.Totals) {
		a := account.Of(l.Series)
		if a.Late > 0 {
			lates, late = lates+a.Late, append(late, l.Name+" "+human.Count(a.Late))
		}
		// What was throttled stands in the table.
		if a.Outcomes[metrics.OK]+a.Outcomes[metrics.Throttled] < a.Scheduled {
			operations = append(operations, account.Part{Name: l.Name, Account: a})
		}
	}
	add("", operations)
	add("stage ", account.Stages(r))
	add("group ", account.Groups(r))
	width := 0
	for _, x := range rows {
		width = max(width, utf8.RuneCountInString(x.name))
	}
	for _, x := range rows {
		b.WriteString(strings.TrimRight(fmt.Sprintf("    %-*s  %s", width, x.name, x.text), " ") + "\n")
	}
	writeList(b, "all ok: ", well)
	if lates > 0 {
		writeList(b, fmt.Sprintf("started late %s: ", human.Count(lates)), late)
	}
}

// writeList writes a list on a line, as far as it has room.
func writeList(b *strings.Builder, head string, items []string) {
	const room = 100
	if len(items) == 0 {
		return
	}
	line := "    " + head
	for i, item := range items {
		if i > 0 {
			line += ", "
		}
		if left := len(items) - i; i > 0 && utf8.RuneCountInString(line+item) > room {
			line += fmt.Sprintf("%d more", left)
			break
		}
		line += item
	}
	b.WriteString(line + "\n")
}
