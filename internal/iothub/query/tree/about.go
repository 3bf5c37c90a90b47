package tree

import (
	"cmp"
	"slices"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/names"
)

// Paths are the paths that the condition reads, in the canonical spelling of [names.Canonical],
// each once. Who evaluates a condition on a part of a twin must know at least these.
func (q *Query) Paths() [][]string {
	var all [][]string
	walk(q.Where, func(p Path) {
		canonical := names.Canonical(p)
		if !slices.ContainsFunc(all, func(x []string) bool { return slices.Equal(x, canonical) }) {
			all = append(all, canonical)
		}
	})
	return all
}

// walk visits the paths of an expression.
func walk(e Expr, visit func(Path)) {
	switch e := e.(type) {
	case Path:
		visit(e)
	case Unary:
		walk(e.X, visit)
	case In:
		walk(e.X, visit)
	case Binary:
		walk(e.X, visit)
		walk(e.Y, visit)
	case Call:
		for _, arg := range e.Args {
			walk(arg, visit)
		}
	}
}

// Column is the name under which the rows of the result hold the value of a path; it is empty when they do not.
// Rows of SELECT * are whole twins and have no columns.
func (q *Query) Column(p ...string) string {
	for i, it := range q.Items {
		if it.Aggregate == "" && slices.Equal(names.Canonical(it.Path), p) {
			return it.Label(i)
		}
	}
	return ""
}

// Whole reports whether every twin that the condition keeps is one row of the result: there is no
// TOP and nothing is summed up.
func (q *Query) Whole() bool { return q.From == Devices && q.Top == 0 && !q.Aggregates() }

// OverParts tells how the results of parts of a hub's devices make that of all of them: sum is whether each has one row of counts, to be
// summed; else the rows of one part follow those of the other. why names what of the query has no such result; empty when it has.
func (q *Query) OverParts() (sum bool, why string) {
	switch {
	case q.Top > 0:
		return false, "TOP"
	case q.GroupBy != nil:
		return false, "GROUP BY"
	case !q.Aggregates():
		return false, ""
	}
	for _, it := range q.Items {
		if it.Aggregate != "COUNT" {
			return false, cmp.Or(it.Aggregate, "a column beside COUNT")
		}
	}
	return true, ""
}

// PerDevice reports whether every row of the result is of one device: nothing is summed up, and no jobs are read.
func (q *Query) PerDevice() bool { return q.From == Devices && !q.Aggregates() }

// Equals is the text that a path must be equal to for the condition to hold; false where it may be another. Who has
// rows by that path can leave out all others.
func (q *Query) Equals(p ...string) (string, bool) { return equals(q.Where, p) }

func equals(e Expr, p Path) (string, bool) {
	b, ok := e.(Binary)
	if !ok {
		return "", false
	}
	switch b.Op {
	case "AND":
		if text, ok := equals(b.X, p); ok {
			return text, true
		}
		return equals(b.Y, p)
	case "=":
		path, isPath := b.X.(Path)
		l, isLiteral := b.Y.(Literal)
		if isPath && isLiteral && slices.Equal(path, p) && l.Value.Kind() == jsonvalue.String {
			return l.Value.Str(), true
		}
	}
	return "", false
}
