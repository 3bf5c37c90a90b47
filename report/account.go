package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/human"
)

// Account is what became of the operations that were scheduled. Nothing vanishes:
//
//	Scheduled = all outcomes + Open + Dropped
type Account struct {
	Scheduled uint64
	Outcomes  map[metrics.Outcome]uint64
	Open      uint64            // under way; 0 when the run is over
	Dropped   map[string]uint64 // never started, by reason
	Late      uint64            // of Scheduled: started late
}

// AccountOf is the account of some operations.
func AccountOf(all ...*metrics.SeriesSnapshot) Account {
	a := Account{Outcomes: make(map[metrics.Outcome]uint64), Dropped: make(map[string]uint64)}
	for _, x := range all {
		a.Scheduled, a.Open, a.Late = a.Scheduled+x.Scheduled(), a.Open+x.InFlight(), a.Late+x.Late
		for _, o := range metrics.Outcomes() {
			a.Outcomes[o] += x.Count(o)
		}
		for reason, n := range x.Dropped {
			a.Dropped[reason] += n
		}
	}
	return a
}

// less is what is left of the account when a part is taken away.
func (a Account) less(part Account) Account {
	sub := func(x, y uint64) uint64 { return x - min(x, y) }
	out := AccountOf()
	out.Scheduled, out.Open, out.Late = sub(a.Scheduled, part.Scheduled), sub(a.Open, part.Open), sub(a.Late, part.Late)
	for o, n := range a.Outcomes {
		out.Outcomes[o] = sub(n, part.Outcomes[o])
	}
	for reason, n := range a.Dropped {
		out.Dropped[reason] = sub(n, part.Dropped[reason])
	}
	return out
}

// DroppedTotal is how many never started.
func (a Account) DroppedTotal() (n uint64) {
	for _, x := range a.Dropped {
		n += x
	}
	return n
}

// Well reports whether all that was scheduled was done.
func (a Account) Well() bool { return a.Outcomes[metrics.OK] == a.Scheduled }

// String is the account as a sum of what is not nothing: 210 = ok 198 + throttled 2 + dropped 10 (in_flight 10).
func (a Account) String() string {
	parts := []string{"ok " + human.Count(a.Outcomes[metrics.OK])}
	for _, o := range metrics.Outcomes()[1:] {
		if n := a.Outcomes[o]; n > 0 {
			parts = append(parts, o.String()+" "+human.Count(n))
		}
	}
	if a.Open > 0 {
		parts = append(parts, "under way "+human.Count(a.Open))
	}
	if n := a.DroppedTotal(); n > 0 {
		parts = append(parts, "dropped "+human.Count(n)+" ("+a.Why()+")")
	}
	return human.Count(a.Scheduled) + " = " + strings.Join(parts, " + ")
}

// Why lists the reasons of what was dropped, the most frequent first; empty when nothing was.
func (a Account) Why() string {
	var reasons []string
	for reason, n := range a.Dropped {
		if n > 0 {
			reasons = append(reasons, reason)
		}
	}
	slices.SortFunc(reasons, func(x, y string) int {
		if a.Dropped[x] != a.Dropped[y] {
			return int(a.Dropped[y]) - int(a.Dropped[x])
		}
		return strings.Compare(x, y)
	})
	for i, reason := range reasons {
		reasons[i] = reason + " " + human.Count(a.Dropped[reason])
	}
	return strings.Join(reasons, ", ")
}

// Part is a part of a run, a stage or a group of devices, with its operations.
type Part struct {
	Name string // of the stage or group
	Account
	Lines []Line
}

// outside is the name of the part that is in no stage: what makes the identities, what reads twins at the end.
const outside = "outside the stages"

// Stages are the parts of a run by stage, with what was intended outside of them; none when the record does not split it, or
// when there is one part only.
func Stages(r *Run) []Part {
	var parts []Part
	left := AccountOf(ofSnapshot(r.Totals)...)
	for _, t := range r.Stages {
		if t.Totals == nil {
			return nil
		}
		p := Part{t.Name, AccountOf(ofSnapshot(t.Totals)...), Lines(t.Totals)}
		parts, left = append(parts, p), left.less(p.Account)
	}
	if len(parts) > 0 && left.Scheduled > 0 {
		parts = append(parts, Part{Name: outside, Account: left})
	}
	if len(parts) < 2 {
		return nil
	}
	return parts
}

// Groups are the parts of a run by group of devices; none when there is one group only. What is of no group is in none.
func Groups(r *Run) []Part {
	names := groupNames(r)
	if len(names) < 2 {
		return nil
	}
	var parts []Part
	for _, name := range names {
		of := &metrics.Snapshot{}
		for i := range r.Totals.Series {
			if x := r.Totals.Series[i]; x.Group == name && x.Operation != metrics.OpQuery {
				of.Series = append(of.Series, x)
			}
		}
		parts = append(parts, Part{name, AccountOf(ofSnapshot(of)...), Lines(of)})
	}
	return parts
}

// groupNames are the groups of devices.
func groupNames(r *Run) (names []string) {
	for _, d := range r.Totals.Devices {
		if !slices.Contains(names, d.Group) {
			names = append(names, d.Group)
		}
	}
	return names
}

func ofSnapshot(s *metrics.Snapshot) []*metrics.SeriesSnapshot {
	all := make([]*metrics.SeriesSnapshot, len(s.Series))
	for i := range s.Series {
		all[i] = &s.Series[i]
	}
	return all
}

// Table is the accounts of a run's parts, for reports that have room for all of them.
type Table struct {
	Title   string
	Columns []string
	Parts   bool // the first column names the parts, the second their operations
	Rows    []TableRow
}

// TableRow is one part, or one of its operations.
type TableRow struct {
	Part  string // empty in the rows of its operations
	Cells []string
}

// Tables are the accounts of the operations, and of those of each stage and group where there is more than one. A column
// that would hold nothing is left out.
func Tables(r *Run) []Table {
	all := AccountOf(ofSnapshot(r.Totals)...)
	var operations []TableRow
	for _, l := range Lines(r.Totals) {
		operations = append(operations, TableRow{"", append([]string{l.Name}, all.columns(AccountOf(l.Series))...)})
	}
	operations = append(operations, TableRow{"", append([]string{"all"}, all.columns(all)...)})
	tables := []Table{{"By operation", append([]string{"operation"}, all.headings()...), false, operations}}
	for _, x := range []struct {
		title, column string
		parts         []Part
	}{{"By stage", "stage", Stages(r)}, {"By group", "group", Groups(r)}} {
		if len(x.parts) == 0 {
			continue
		}
		t := Table{Title: x.title, Parts: true, Columns: append(append([]string{x.column, "operation"}, all.headings()...), "p50", "p99", "max")}
		for _, p := range x.parts {
			t.Rows = append(t.Rows, TableRow{p.Name, append(append([]string{""}, all.columns(p.Account)...), "", "", "")})
			for _, l := range p.Lines {
				h := l.Series.Latency(false)
				cells := append([]string{l.Name}, all.columns(AccountOf(l.Series))...)
				if h.Count > 0 {
					cells = append(cells, human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.99)), human.Duration(h.Maximum()))
				} else {
					cells = append(cells, "", "", "")
				}
				t.Rows = append(t.Rows, TableRow{"", cells})
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

// maxParts is how many lines the summary gives to operations, stages and groups each; the other reports have all.
const maxParts = 6

// writeAccounts says what became of everything that was scheduled: all together, then the operations, stages and groups
// of which not everything was done.
func writeAccounts(b *strings.Builder, r *Run) {
	fmt.Fprintf(b, "  scheduled %s\n", AccountOf(ofSnapshot(r.Totals)...))
	type row struct{ name, text string }
	var rows []row
	var well []string
	add := func(kind string, parts []Part) {
		told := 0
		for _, p := range parts {
			name := kind + p.Name
			if p.Name == outside {
				name = outside
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
	var operations []Part
	var late []string
	var lates uint64
	for _, l := range Lines(r.Totals) {
		a := AccountOf(l.Series)
		if a.Late > 0 {
			lates, late = lates+a.Late, append(late, l.Name+" "+human.Count(a.Late))
		}
		// What was throttled stands in the table.
		if a.Outcomes[metrics.OK]+a.Outcomes[metrics.Throttled] < a.Scheduled {
			operations = append(operations, Part{Name: l.Name, Account: a})
		}
	}
	add("", operations)
	add("stage ", Stages(r))
	add("group ", Groups(r))
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
