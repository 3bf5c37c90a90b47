// Package tree is a parsed query as a tree, which prints as the query that it is.
package tree

import (
	"strconv"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
)

// Collection is what a query reads.
type Collection uint8

// The collections of iot-hub-devguide-query-language, "FROM clause".
const (
	Devices Collection = iota // Twins of devices.
	Modules                   // Twins of modules.
	Jobs                      // Devices of jobs.
)

// String is the collection as queries name it.
func (c Collection) String() string {
	return [...]string{"devices", "devices.modules", "devices.jobs"}[c]
}

// Query is a parsed query. It must not be changed, and is safe for concurrent use.
type Query struct {
	Text    string     // As it was written.
	Top     int        // 0 for no limit.
	Items   []Item     // nil for *.
	From    Collection // What it reads.
	Where   Expr       // nil for all.
	GroupBy []Path     // nil for none.
	// Doubts are places that are answered and yet hardly meant: attributes that nothing has, which are undefined.
	// Nil for none.
	Doubts []*scan.SyntaxError
}

// Item is one element of a select list.
type Item struct {
	Aggregate string // COUNT, AVG, SUM, MIN, MAX; empty for a plain attribute.
	Path      Path   // nil for COUNT().
	Name      string // The alias, empty for none.
}

// Expr is a node of a condition: one of the types below.
type Expr interface{ write(w *printer) }

type (
	// Literal is a constant; an Undefined one is the constant undefined.
	Literal struct {
		Value jsonvalue.Value // No object and no array.
	}

	// Path is an attribute, in the usual spelling of its names.
	Path []string

	// Array is a list of constants.
	Array []jsonvalue.Value

	// Unary is an operator before its operand.
	Unary struct {
		Op string // NOT or -.
		X  Expr   // What it stands before.
	}

	// Binary is an operator between its operands.
	Binary struct {
		Op   string // AND OR = != < <= > >= + - * / %.
		X, Y Expr   // What it stands between.
	}

	// In is the question whether a value is among constants.
	In struct {
		X      Expr  // The value.
		Values Array // The constants.
		Not    bool  // NIN: whether it is not among them.
	}

	// Call is a function of conditions.
	Call struct {
		Name string // IS_DEFINED, STARTSWITH, ENDSWITH, ARRAY_CONTAINS.
		Args []Expr // As many as the function takes.
	}
)

// Raw reports whether the result is rows of the query's own making, not whole twins or jobs.
func (q *Query) Raw() bool { return q.Items != nil }

// Aggregates reports whether rows are summed up.
func (q *Query) Aggregates() bool {
	if q.GroupBy != nil {
		return true
	}
	for _, it := range q.Items {
		if it.Aggregate != "" {
			return true
		}
	}
	return false
}

// Label is the name of an element in the result: its alias, or the last part of its path. An
// aggregate without alias is numbered.
func (it Item) Label(i int) string {
	switch {
	case it.Name != "":
		return it.Name
	case it.Aggregate != "":
		return "$" + strconv.Itoa(i+1)
	default:
		return it.Path[len(it.Path)-1]
	}
}
