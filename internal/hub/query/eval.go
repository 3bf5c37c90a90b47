package query

import (
	"cmp"
	"math"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// record is a row that conditions are evaluated on: a twin, or a job's device.
type record interface {
	Field(path ...string) twin.Value
}

var _ record = (*twin.Twin)(nil)

// evaluator computes a value for a row. Conditions are compiled to evaluators once per query.
type evaluator func(record) twin.Value

// compile turns an expression into an evaluator.
func compile(e expr) evaluator {
	switch e := e.(type) {
	case literal:
		return func(record) twin.Value { return e.value }
	case array:
		v := twin.ArrayValue(e...)
		return func(record) twin.Value { return v }
	case path:
		return func(r record) twin.Value { return r.Field(e...) }
	case unary:
		x := compile(e.x)
		if e.op == "NOT" {
			return func(r record) twin.Value { return not(x(r)) }
		}
		return func(r record) twin.Value { return arithmetic("-", twin.NumberValue(0), x(r)) }
	case in:
		x := compile(e.x)
		return func(r record) twin.Value {
			v := member(x(r), e.values)
			if e.not {
				return not(v)
			}
			return v
		}
	case call:
		return compileCall(e)
	case binary:
		return compileBinary(e)
	}
	return func(record) twin.Value { return twin.Value{} }
}

func compileCall(c call) evaluator {
	x := compile(c.args[0])
	if c.name == "IS_DEFINED" {
		return func(r record) twin.Value { return twin.BoolValue(x(r).IsDefined()) }
	}
	y := compile(c.args[1])
	test := strings.HasPrefix
	if c.name == "ENDSWITH" {
		test = strings.HasSuffix
	}
	return func(r record) twin.Value {
		s, part := x(r), y(r)
		if s.Kind() != twin.String || part.Kind() != twin.String {
			return twin.Value{}
		}
		return twin.BoolValue(test(s.Str(), part.Str()))
	}
}

func compileBinary(b binary) evaluator {
	x, y := compile(b.x), compile(b.y)
	switch b.op {
	case "AND":
		return func(r record) twin.Value { return and(x(r), y, r) }
	case "OR":
		return func(r record) twin.Value { return or(x(r), y, r) }
	case "+", "-", "*", "/", "%":
		return func(r record) twin.Value { return arithmetic(b.op, x(r), y(r)) }
	}
	op := b.op
	return func(r record) twin.Value { return compare(op, x(r), y(r)) }
}

func isBool(v twin.Value, want bool) bool { return v.Kind() == twin.Bool && v.Bool() == want }

// and is three-valued: false wins over undefined.
func and(x twin.Value, y evaluator, r record) twin.Value {
	if isBool(x, false) {
		return x
	}
	v := y(r)
	switch {
	case isBool(v, false):
		return v
	case isBool(x, true) && isBool(v, true):
		return v
	}
	return twin.Value{}
}

// or is three-valued: true wins over undefined.
func or(x twin.Value, y evaluator, r record) twin.Value {
	if isBool(x, true) {
		return x
	}
	v := y(r)
	switch {
	case isBool(v, true):
		return v
	case isBool(x, false) && isBool(v, false):
		return v
	}
	return twin.Value{}
}

func not(v twin.Value) twin.Value {
	if v.Kind() != twin.Bool {
		return twin.Value{}
	}
	return twin.BoolValue(!v.Bool())
}

// compare is undefined for values of different kinds and for what is no primitive.
func compare(op string, x, y twin.Value) twin.Value {
	if x.Kind() != y.Kind() {
		return twin.Value{}
	}
	var c int
	switch x.Kind() {
	case twin.Null:
	case twin.Bool:
		c = cmp.Compare(boolRank(x), boolRank(y))
	case twin.Number:
		c = cmp.Compare(x.Num(), y.Num())
	case twin.String:
		c = strings.Compare(x.Str(), y.Str())
	default:
		return twin.Value{}
	}
	return twin.BoolValue(holds(op, c))
}

func boolRank(v twin.Value) int {
	if v.Bool() {
		return 1
	}
	return 0
}

func holds(op string, c int) bool {
	switch op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

// member is undefined for what is no primitive; elements of other kinds do not match.
func member(x twin.Value, values array) twin.Value {
	switch x.Kind() {
	case twin.Undefined, twin.Array, twin.Object:
		return twin.Value{}
	}
	for _, v := range values {
		if isBool(compare("=", x, v), true) {
			return twin.BoolValue(true)
		}
	}
	return twin.BoolValue(false)
}

// arithmetic is undefined for what is no number, and where the result is none.
func arithmetic(op string, x, y twin.Value) twin.Value {
	if x.Kind() != twin.Number || y.Kind() != twin.Number {
		return twin.Value{}
	}
	a, b := x.Num(), y.Num()
	var n float64
	switch op {
	case "+":
		n = a + b
	case "-":
		n = a - b
	case "*":
		n = a * b
	case "/":
		n = a / b
	default:
		n = math.Mod(a, b)
	}
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return twin.Value{}
	}
	return twin.NumberValue(n)
}

// Matches reports whether a row is kept: only if the condition is exactly true.
func (q *Query) Matches(t *twin.Twin) bool {
	return q.where == nil || isBool(compile(q.where)(t), true)
}
