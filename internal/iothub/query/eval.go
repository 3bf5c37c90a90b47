package query

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// record is a row that conditions are evaluated on: a twin, or where there is none a job's row.
type record struct {
	twin *twin.Twin
	row  jsonvalue.Value
}

// Conditions are compiled once a query, to functions that know their paths and constants.
type (
	evaluator func(record) jsonvalue.Value
	predicate func(record) truth
)

// compiled finishes a query that was parsed.
func (q *Query) compiled() *Query {
	if q.where != nil {
		q.keep = q.predicate(q.where)
	}
	return q
}

// Matches reports whether a twin is kept: only if the condition is exactly true.
func (q *Query) Matches(t *twin.Twin) bool { return q.keeps(record{twin: t}) }

func (q *Query) keeps(r record) bool { return q.keep == nil || q.keep(r) == isTrue }

// predicate compiles an expression that is asked for its truth.
func (q *Query) predicate(e expr) predicate {
	switch e := e.(type) {
	case unary:
		if e.op == "NOT" {
			x := q.predicate(e.x)
			return func(r record) truth { return x(r).not() }
		}
	case in:
		x, members := q.evaluator(e.x), setOf(e.values)
		if e.not {
			return func(r record) truth { return members.has(x(r)).not() }
		}
		return func(r record) truth { return members.has(x(r)) }
	case call:
		return q.function(e)
	case binary:
		switch binaryPower(e.op) {
		case powerAnd:
			x, y := q.predicate(e.x), q.predicate(e.y)
			return func(r record) truth { return x(r).and(y, r) }
		case powerOr:
			x, y := q.predicate(e.x), q.predicate(e.y)
			return func(r record) truth { return x(r).or(y, r) }
		case powerCompare:
			return q.comparison(e)
		}
	}
	x := q.evaluator(e)
	return func(r record) truth { return truthIn(x(r)) }
}

// evaluator compiles an expression that is asked for its value.
func (q *Query) evaluator(e expr) evaluator {
	switch e := e.(type) {
	case literal:
		return func(record) jsonvalue.Value { return e.value }
	case array: // No operator takes an array but IN, which has its own: all that counts is that it is one.
		v := jsonvalue.ArrayValue()
		return func(record) jsonvalue.Value { return v }
	case path:
		return q.lookup(e)
	case unary:
		if e.op == "-" {
			x := q.evaluator(e.x)
			return func(r record) jsonvalue.Value { return arithmetic('-', jsonvalue.IntValue(0), x(r)) }
		}
	case binary:
		if binaryPower(e.op) > powerCompare {
			x, y, op := q.evaluator(e.x), q.evaluator(e.y), e.op[0]
			return func(r record) jsonvalue.Value { return arithmetic(op, x(r), y(r)) }
		}
	}
	x := q.predicate(e)
	return func(r record) jsonvalue.Value { return x(r).value() }
}

// lookup compiles a path. Tags are most of what is asked for, and have no names of the system's own.
func (q *Query) lookup(p path) evaluator {
	switch {
	case q.from == Jobs:
		return func(r record) jsonvalue.Value { return r.row.Path(p...) }
	case p[0] == "tags" && len(p) > 1:
		rest := p[1:]
		return func(r record) jsonvalue.Value { return r.twin.Tags.Value().Path(rest...) }
	default:
		return func(r record) jsonvalue.Value { return r.twin.Field(p...) }
	}
}

func (q *Query) function(c call) predicate {
	x := q.evaluator(c.args[0])
	if c.name == "IS_DEFINED" {
		return func(r record) truth { return truthOf(x(r).IsDefined()) }
	}
	y := q.evaluator(c.args[1])
	test := strings.HasPrefix
	if c.name == "ENDSWITH" {
		test = strings.HasSuffix
	}
	return func(r record) truth {
		s, part := x(r), y(r)
		if s.Kind() != jsonvalue.String || part.Kind() != jsonvalue.String {
			return undefined
		}
		return truthOf(test(s.Str(), part.Str()))
	}
}

// comparison compiles = != < <= > >=, those with a constant to its right so that a row costs no more
// than its own value.
func (q *Query) comparison(b binary) predicate {
	x, y, results := q.evaluator(b.x), q.evaluator(b.y), outcomes(b.op)
	l, ok := b.y.(literal)
	if !ok {
		return func(r record) truth { return results.compare(x(r), y(r)) }
	}
	switch l.value.Kind() {
	case jsonvalue.String:
		s := l.value.Str()
		return func(r record) truth {
			v := x(r)
			if v.Kind() != jsonvalue.String {
				return undefined
			}
			return results[strings.Compare(v.Str(), s)+1]
		}
	case jsonvalue.Number:
		n := l.value.Num()
		return func(r record) truth {
			v := x(r)
			if v.Kind() != jsonvalue.Number {
				return undefined
			}
			return results[cmp.Compare(v.Num(), n)+1]
		}
	default:
		return func(r record) truth { return results.compare(x(r), l.value) }
	}
}

// results are what a comparison gives for less, equal and greater.
type results [3]truth

func outcomes(op string) results {
	switch op {
	case "=":
		return results{isFalse, isTrue, isFalse}
	case "!=":
		return results{isTrue, isFalse, isTrue}
	case "<":
		return results{isTrue, isFalse, isFalse}
	case "<=":
		return results{isTrue, isTrue, isFalse}
	case ">":
		return results{isFalse, isFalse, isTrue}
	default:
		return results{isFalse, isTrue, isTrue}
	}
}

// compare is undefined for values of different kinds and for what is no primitive. Strings compare by
// their bytes, false comes before true.
func (rs results) compare(x, y jsonvalue.Value) truth {
	if x.Kind() != y.Kind() {
		return undefined
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
		return undefined
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

func setOf(values array) *set {
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
func (s *set) has(v jsonvalue.Value) truth {
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
		return undefined
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
