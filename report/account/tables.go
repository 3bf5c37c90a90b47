package account

import (
	"slices"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Table is the accounts of a run's parts, for reports that have room for all of them.
type Table struct {
	Title   string   // what the rows are split by
	Columns []string // the headings
	Parts   bool     // the first column names the parts, the second their operations
	Rows    []Row    // a part, or one of its operations, each
}

// Row is one part, or one of its operations.
type Row struct {
	Part  string   // empty in the rows of its operations
	Cells []string // as many as Columns, without the one of the part; blank for nothing
}

// Tables are the accounts of the operations, and of those of each stage and group where there is more than one. A column
// that would hold nothing is left out. Stages and groups have times too, as the percentiles say.
func Tables(r *report.Run, p Percentiles) []Table {
	all := OfRun(r)
	var operations []Row
	for _, l := range Lines(r.Totals) {
		operations = append(operations, Row{"", append([]string{l.Name}, all.columns(Of(l.Series))...)})
	}
	operations = append(operations, Row{"", append([]string{"all"}, all.columns(all)...)})
	tables := []Table{{"By operation", append([]string{"operation"}, all.headings()...), false, operations}}
	for _, x := range []struct {
		title, column string
		parts         []Part
	}{{"By stage", "stage", Stages(r)}, {"By group", "group", Groups(r)}} {
		if len(x.parts) == 0 {
			continue
		}
		times := p.Headings()
		t := Table{Title: x.title, Parts: true, Columns: append(append([]string{x.column, "operation"}, all.headings()...), times...)}
		for _, part := range x.parts {
			t.Rows = append(t.Rows, Row{part.Name, append(append([]string{""}, all.columns(part.Account)...), slices.Repeat([]string{""}, len(times))...)})
			for _, l := range part.Lines {
				cells := append([]string{l.Name}, all.columns(Of(l.Series))...)
				t.Rows = append(t.Rows, Row{"", append(cells, p.Cells(l.Series.Latency(false), "")...)})
			}
		}
		tables = append(tables, t)
	}
	return tables
}

// headings are the columns of a table of accounts that add up to this one.
func (a Account) headings() []string {
	columns := []string{"scheduled"}
	for _, o := range metrics.Outcomes() {
		if a.Outcomes[o] > 0 || o == metrics.OK {
			columns = append(columns, o.String())
		}
	}
	if a.DroppedTotal() > 0 {
		columns = append(columns, "dropped")
	}
	if a.Late > 0 {
		columns = append(columns, "late")
	}
	return columns
}

// columns are a part of the account as cells under these headings; what is nothing is left blank.
func (a Account) columns(part Account) []string {
	cells := []string{human.Count(part.Scheduled)}
	number := func(n uint64) {
		if n == 0 {
			cells = append(cells, "")
			return
		}
		cells = append(cells, human.Count(n))
	}
	for _, o := range metrics.Outcomes() {
		if a.Outcomes[o] > 0 || o == metrics.OK {
			number(part.Outcomes[o])
		}
	}
	if a.DroppedTotal() > 0 {
		cells = append(cells, part.Why())
	}
	if a.Late > 0 {
		number(part.Late)
	}
	return cells
}
