// Package eval evaluates conditions with the three-valued logic of the query language.
package eval

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Record is a row that conditions are evaluated on: a twin, or where there is none a job's row.
type Record struct {
	Twin *twin.Twin      // nil for a job's row
	Row  jsonvalue.Value // of devices.jobs
}

// Evaluator gives the value of an expression for a row; it knows its paths and constants.
type Evaluator func(Record) jsonvalue.Value

// Predicate gives the truth of a condition for a row.
type Predicate func(Record) Truth

// Compile makes a function of a condition of a query that reads a collection: once a query, so that a row costs little.
func Compile(where tree.Expr, from tree.Collection) Predicate { return compiler{from}.predicate(where) }

// compiler makes functions of expressions.
type compiler struct{ from tree.Collection }

// Predicate compiles an expression that is asked for its truth.
func (c compiler) predicate(e tree.Expr) Predicate {
	switch e := e.(type) {
	case tree.Unary:
		if e.Op == "NOT" {
			x := c.predicate(e.X)
			return func(r Record) Truth { return x(r).not() }
		}
	case tree.In:
		x, members := c.evaluator(e.X), setOf(e.Values)
		if e.Not {
			return func(r Record) Truth { return members.has(x(r)).not() }
		}
		return func(r Record) Truth { return members.has(x(r)) }
	case tree.Call:
		return c.function(e)
	case tree.Binary:
		switch tree.BinaryPower(e.Op) {
		case tree.PowerAnd:
			x, y := c.predicate(e.X), c.predicate(e.Y)
			return func(r Record) Truth { return x(r).and(y, r) }
		case tree.PowerOr:
			x, y := c.predicate(e.X), c.predicate(e.Y)
			return func(r Record) Truth { return x(r).or(y, r) }
		case tree.PowerCompare:
			return c.comparison(e)
		}
	}
	x := c.evaluator(e)
	return func(r Record) Truth { return truthIn(x(r)) }
}

// Evaluator compiles an expression that is asked for its value.
func (c compiler) evaluator(e tree.Expr) Evaluator {
	switch e := e.(type) {
	case tree.Literal:
		return func(Record) jsonvalue.Value { return e.Value }
	case tree.Array:
		v := jsonvalue.ArrayValue(e...)
		return func(Record) jsonvalue.Value { return v }
	case tree.Path:
		return Lookup(e, c.from)
	case tree.Unary:
		if e.Op == "-" {
			x := c.evaluator(e.X)
			return func(r Record) jsonvalue.Value { return arithmetic('-', jsonvalue.IntValue(0), x(r)) }
		}
	case tree.Binary:
		if tree.BinaryPower(e.Op) > tree.PowerCompare {
			x, y, op := c.evaluator(e.X), c.evaluator(e.Y), e.Op[0]
			return func(r Record) jsonvalue.Value { return arithmetic(op, x(r), y(r)) }
		}
	}
	x := c.predicate(e)
	return func(r Record) jsonvalue.Value { return x(r).value() }
}

// Lookup compiles a path. Tags are most of what is asked for, and have no names of the system's own.
func Lookup(p tree.Path, from tree.Collection) Evaluator {
	switch {
	case from == tree.Jobs:
		return func(r Record) jsonvalue.Value { return r.Row.Path(p...) }
	case p[0] == "tags" && len(p) > 1:
		rest := p[1:]
		return func(r Record) jsonvalue.Value { return r.Twin.Tags.Value().Path(rest...) }
	default:
		return func(r Record) jsonvalue.Value { return r.Twin.Field(p...) }
	}
}

func (c compiler) function(f tree.Call) Predicate {
	x := c.evaluator(f.Args[0])
	if f.Name == "IS_DEFINED" {
		return func(r Record) Truth { return truthOf(x(r).IsDefined()) }
	}
	y := c.evaluator(f.Args[1])
	if f.Name == "ARRAY_CONTAINS" {
		return func(r Record) Truth { return contains(x(r), y(r)) }
	}
	test := strings.HasPrefix
	if f.Name == "ENDSWITH" {
		test = strings.HasSuffix
	}
	return func(r Record) Truth {
		s, part := x(r), y(r)
		if s.Kind() != jsonvalue.String || part.Kind() != jsonvalue.String {
			return Undefined
		}
		return truthOf(test(s.Str(), part.Str()))
	}
}

// contains is undefined for what is no array, and for a value that is none (as in Azure Cosmos DB's SQL).
func contains(array, v jsonvalue.Value) Truth {
	if array.Kind() != jsonvalue.Array || !v.IsDefined() {
		return Undefined
	}
	for each := range array.Elems() {
		if each.Equal(v) {
			return True
		}
	}
	return False
}

// comparison compiles = != < <= > >=, those with a constant to its right so that a row costs no more
// than its own value.
func (c compiler) comparison(b tree.Binary) Predicate {
	x, y, results := c.evaluator(b.X), c.evaluator(b.Y), outcomes(b.Op)
	l, ok := b.Y.(tree.Literal)
	if !ok {
		return func(r Record) Truth { return results.compare(x(r), y(r)) }
	}
	switch l.Value.Kind() {
	case jsonvalue.String:
		s := l.Value.Str()
		return func(r Record) Truth {
			v := x(r)
			if v.Kind() != jsonvalue.String {
				return Undefined
			}
			return results[strings.Compare(v.Str(), s)+1]
		}
	case jsonvalue.Number:
		n := l.Value.Num()
		return func(r Record) Truth {
			v := x(r)
			if v.Kind() != jsonvalue.Number {
				return Undefined
			}
			return results[cmp.Compare(v.Num(), n)+1]
		}
	default:
		return func(r Record) Truth { return results.compare(x(r), l.Value) }
	}
}

// results are what a comparison gives for less, equal and greater.
type results [3]Truth

func outcomes(op string) results {
	switch op {
	case "=":
		return results{False, True, False}
	case "!=":
		return results{True, False, True}
	case "<":
		return results{True, False, False}
	case "<=":
		return results{True, True, False}
	case ">":
		return results{False, False, True}
	default:
		return results{False, True, True}
	}
}

// Compare is the truth of a comparison: = != < <= > or >=. It is undefined for values of different kinds and for
// what is no primitive.
func Compare(op string, x, y jsonvalue.Value) Truth { return outcomes(op).compare(x, y) }

// compare is undefined for values of different kinds and for what is no primitive. Strings compare by
// their bytes, false comes before true.
func (rs results) compare(x, y jsonvalue.Value) Truth {
	if x.Kind() != y.Kind() {
		return Undefined
	}
	switch x.Kind() {
	case jsonvalue.Null:
		return rs[1]
	case jsonvalue.Bool:
		return rs[cmp.Compare(boolRank(x), boolRank(y))+1]
	case jsonvalue.Number:
		return rs[cmp.Compare(x.Num(), y.Num())+1]
	case jsonvalue.String:
		return rs[strings.Compare(x.Str(), y.Str())+1]
	default:
		return Undefined
	}
}

func boolRank(v jsonvalue.Value) int {
	if v.Bool() {
		return 1
	}
	return 0
}

// set is the constants of an array behind IN, in order, so that long arrays cost little a row.
type set struct {
	texts         []string
	numbers       []float64
	no, yes, null bool
}

func setOf(values tree.Array) *set {
	s := &set{}
	for _, v := range values {
		switch v.Kind() {
		case jsonvalue.String:
			s.texts = append(s.texts, v.Str())
		case jsonvalue.Number:
			s.numbers = append(s.numbers, v.Num())
		case jsonvalue.Bool:
			s.yes, s.no = s.yes || v.Bool(), s.no || !v.Bool()
		case jsonvalue.Null:
			s.null = true
		}
	}
	slices.Sort(s.texts)
	slices.Sort(s.numbers)
	return s
}

// has is undefined for what is no primitive. A constant of another kind is simply not the value: 1 is
// not IN ['a'], and is NIN ['a'] (as in Azure Cosmos DB's SQL).
func (s *set) has(v jsonvalue.Value) Truth {
	found := false
	switch v.Kind() {
	case jsonvalue.String:
		_, found = slices.BinarySearch(s.texts, v.Str())
	case jsonvalue.Number:
		_, found = slices.BinarySearch(s.numbers, v.Num())
	case jsonvalue.Bool:
		found = v.Bool() && s.yes || !v.Bool() && s.no
	case jsonvalue.Null:
		found = s.null
	default:
		return Undefined
	}
	return truthOf(found)
}

// arithmetic is undefined for what is no number, and where the result is none.
func arithmetic(op byte, x, y jsonvalue.Value) jsonvalue.Value {
	if x.Kind() != jsonvalue.Number || y.Kind() != jsonvalue.Number {
		return jsonvalue.Value{}
	}
	a, b := x.Num(), y.Num()
	switch op {
	case '+':
		a += b
	case '-':
		a -= b
	case '*':
		a *= b
	case '/':
		a /= b
	default:
		a = math.Mod(a, b)
	}
	return jsonvalue.NumberValue(a) // Undefined for an infinity and for no number.
}
