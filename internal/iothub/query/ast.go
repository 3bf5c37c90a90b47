package query

import "github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"

// Collection is what a query reads.
type Collection uint8

// The collections of iot-hub-devguide-query-language, "FROM clause".
const (
	Devices Collection = iota
	Modules
	Jobs
)

// String is the collection as queries name it.
func (c Collection) String() string {
	return [...]string{"devices", "devices.modules", "devices.jobs"}[c]
}

// Query is a parsed query. It is immutable and safe for concurrent use.
type Query struct {
	text    string
	top     int    // 0 for no limit.
	items   []item // nil for *.
	from    Collection
	where   expr   // nil for all.
	groupBy []path // nil for none.
	keep    predicate
}

// item is one element of a select list.
type item struct {
	aggregate string // COUNT, AVG, SUM, MIN, MAX; empty for a plain attribute.
	path      path   // nil for COUNT().
	name      string // The alias, empty for none.
}

// expr is a node of a condition: one of the types below.
type expr interface{ write(w *printer) }

type (
	literal struct{ value jsonvalue.Value }
	path    []string
	array   []jsonvalue.Value
	unary   struct {
		op string // NOT or -.
		x  expr
	}
	binary struct {
		op   string // AND OR = != < <= > >= + - * / %.
		x, y expr
	}
	in struct {
		x      expr
		values array
		not    bool
	}
	call struct {
		name string // IS_DEFINED, STARTSWITH, ENDSWITH.
		args []expr
	}
)

// From is what the query reads.
func (q *Query) From() Collection { return q.from }

// Raw reports whether the result is rows of the query's own making, not whole twins or jobs.
func (q *Query) Raw() bool { return q.items != nil }

func (q *Query) aggregates() bool {
	if q.groupBy != nil {
		return true
	}
	for _, it := range q.items {
		if it.aggregate != "" {
			return true
		}
	}
	return false
}
