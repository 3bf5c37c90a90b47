package query

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/names"
)

// The binding powers of operators, weakest first. NOT binds weaker than comparisons: NOT a = 1 is
// NOT (a = 1), as the documents' own queries have it.
const (
	powerOr = iota + 1
	powerAnd
	powerNot
	powerCompare
	powerAdd
	powerMultiply
	powerMinus
	powerOperand
)

// binaryPower is the power of a binary operator, 0 for what is none.
func binaryPower(op string) int {
	switch op {
	case "OR":
		return powerOr
	case "AND":
		return powerAnd
	case "IN", "NIN", "=", "!=", "<", "<=", ">", ">=":
		return powerCompare
	case "+", "-":
		return powerAdd
	case "*", "/", "%":
		return powerMultiply
	default:
		return 0
	}
}

// operator is the binary operator at the current token, with its power; 0 when there is none.
func (p *parser) operator() (string, int) {
	op := p.now.text
	switch p.now.kind {
	case tokenSign:
		if op == "<>" {
			op = "!="
		}
		return op, binaryPower(op)
	case tokenName:
		if p.now.escaped {
			return "", 0
		}
		op = strings.ToUpper(op)
		return op, binaryPower(op)
	default:
		return "", 0
	}
}

// nested runs f one level deeper.
func (p *parser) nested(f func() (expr, error)) (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("the condition is nested more than %d levels deep", maxDepth)
	}
	defer func() { p.depth-- }()
	return f()
}

// expr reads an expression whose operators bind stronger than power (Pratt's method). It calls itself
// only for stronger operators, so that operators alone never nest deep.
func (p *parser) expr(power int) (expr, error) {
	x, err := p.operand(power)
	if err != nil {
		return nil, err
	}
	for {
		op, strength := p.operator()
		if strength <= power {
			return x, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if op == "IN" || op == "NIN" {
			if x, err = p.in(x, op); err != nil {
				return nil, err
			}
			continue
		}
		if strength == powerCompare {
			if err := p.unquoted(); err != nil {
				return nil, err
			}
		}
		y, err := p.expr(strength)
		if err != nil {
			return nil, err
		}
		x = binary{op, x, y}
	}
}

// unquoted is the error for a bare word after a comparison, which mostly is a string without quotes.
func (p *parser) unquoted() error {
	t := p.now
	if t.kind != tokenName || t.escaped || len(t.path) != 1 || keyword(t.text) || p.from == Jobs || p.followedBy("(") {
		return nil
	}
	if full := names.Canonical(t.path); queryable(full) {
		return nil
	}
	return p.fail("unknown attribute %s", t.text).hint("did you mean the string '%s', or properties.reported.%s?", t.text, t.text)
}

func (p *parser) in(x expr, op string) (expr, error) {
	if !p.sign("[") {
		err := p.unexpected("an array such as ['wired', 'wifi'] after " + op)
		if p.sign("(") {
			err.Hint = "arrays stand in [ ]"
		}
		return nil, err
	}
	values, err := p.array()
	return in{x, values, op == "NIN"}, err
}

// operand reads what an operator of the given power has to its right.
func (p *parser) operand(power int) (expr, error) {
	switch {
	case p.now.word("NOT"):
		if power > powerNot {
			return nil, p.unexpected("a value").hint("write (NOT …) where its result is compared")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.nested(func() (expr, error) { return p.expr(powerNot) })
		return unary{"NOT", x}, err
	case p.sign("-"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.nested(func() (expr, error) { return p.expr(powerMinus) })
		if l, ok := x.(literal); ok && l.value.Kind() == jsonvalue.Number {
			return literal{jsonvalue.NumberValue(-l.value.Num())}, err
		}
		return unary{"-", x}, err
	case p.sign("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.nested(func() (expr, error) { return p.expr(0) })
		if err != nil {
			return nil, err
		}
		if !p.sign(")") {
			return nil, p.unexpected(`an operator or ")"`)
		}
		return x, p.advance()
	case p.sign("["):
		return p.array()
	case p.now.kind == tokenName && !p.now.escaped && !keyword(p.now.text) && p.followedBy("("):
		return p.call()
	}
	if v, ok, err := p.constant(); ok || err != nil {
		return literal{v}, err
	}
	return p.attribute()
}

// constant reads a constant; ok is false when the current token is none.
func (p *parser) constant() (v jsonvalue.Value, ok bool, err error) {
	switch {
	case p.now.kind == tokenString:
		v = jsonvalue.StringValue(p.now.text)
	case p.now.kind == tokenNumber:
		if v, err = p.number(); err != nil {
			return v, false, err
		}
	case p.now.word("true"), p.now.word("false"):
		v = jsonvalue.BoolValue(p.now.word("true"))
	case p.now.word("null"):
		v = jsonvalue.NullValue()
	case p.now.word("undefined"):
	default:
		return v, false, nil
	}
	return v, true, p.advance()
}

func (p *parser) number() (jsonvalue.Value, error) {
	var n float64
	var err error
	if rest, ok := strings.CutPrefix(strings.ToLower(p.now.text), "0x"); ok {
		var whole uint64
		whole, err = strconv.ParseUint(rest, 16, 64)
		n = float64(whole)
	} else {
		n, err = strconv.ParseFloat(p.now.text, 64)
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return jsonvalue.Value{}, p.fail("the number %s is too large", p.now.describe())
	case err != nil:
		return jsonvalue.Value{}, p.fail("%s is not a number", p.now.describe())
	}
	return jsonvalue.NumberValue(n), nil
}

func (p *parser) array() (array, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	values := array{}
	if p.sign("]") {
		return values, p.advance()
	}
	for {
		v, err := p.arrayElement()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if p.sign("]") {
			return values, p.advance()
		}
		if !p.sign(",") {
			return nil, p.unexpected(`a comma or "]"`)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) arrayElement() (jsonvalue.Value, error) {
	negative := p.sign("-")
	if negative {
		if err := p.advance(); err != nil {
			return jsonvalue.Value{}, err
		}
		if p.now.kind != tokenNumber {
			return jsonvalue.Value{}, p.unexpected("a number")
		}
	}
	at := p.now
	v, ok, err := p.constant()
	switch {
	case err != nil:
		return v, err
	case !ok:
		err := p.unexpected("a constant")
		err.Hint = "arrays hold strings, numbers, true, false and null"
		if at.kind == tokenName && len(at.path) == 1 && !at.escaped && !keyword(at.text) {
			err.Hint = "did you mean the string '" + at.text + "'?"
		}
		return v, err
	case negative:
		return jsonvalue.NumberValue(-v.Num()), nil
	}
	return v, nil
}

// arity is how many arguments a function of conditions takes; 0 for what is none.
func arity(function string) int {
	switch function {
	case "IS_DEFINED":
		return 1
	case "STARTSWITH", "ENDSWITH":
		return 2
	default:
		return 0
	}
}

func (p *parser) unknownFunction(name string) error {
	err := p.fail("unknown function %s", p.now.text).hint("there are IS_DEFINED, STARTSWITH and ENDSWITH")
	routing := []string{"CONTAINS", "CONCAT", "LENGTH", "LOWER", "UPPER", "SUBSTRING", "INDEX_OF", "AS_NUMBER", "ABS", "EXP", "POWER", "SQUARE", "CEILING", "FLOOR", "SIGN", "SQRT"}
	switch {
	case name == "STARTS_WITH":
		err.Hint = "write STARTSWITH"
	case name == "ENDS_WITH":
		err.Hint = "write ENDSWITH"
	case aggregate(name):
		err.Hint = "aggregates stand after SELECT only"
	case slices.Contains(routing, name), strings.HasPrefix(name, "IS_"):
		err.Hint = "message routing has it, queries on twins have only IS_DEFINED, STARTSWITH and ENDSWITH"
	}
	return err
}

func (p *parser) call() (expr, error) {
	c := call{name: strings.ToUpper(p.now.text)}
	want := arity(c.name)
	if want == 0 {
		return nil, p.unknownFunction(c.name)
	}
	start := p.now.offset
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.arguments(&c); err != nil {
		return nil, err
	}
	if len(c.args) != want {
		return nil, errorAt(p.sql, start, "%s takes %d %s, found %d", c.name, want, plural("argument", want), len(c.args))
	}
	if _, isPath := c.args[0].(path); c.name == "IS_DEFINED" && !isPath {
		return nil, errorAt(p.sql, start, "IS_DEFINED takes an attribute such as properties.reported.connectivity")
	}
	return c, nil
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// arguments reads from the opening to the closing parenthesis.
func (p *parser) arguments(c *call) error {
	if err := p.advance(); err != nil {
		return err
	}
	if p.sign(")") {
		return p.advance()
	}
	for {
		arg, err := p.nested(func() (expr, error) { return p.expr(0) })
		if err != nil {
			return err
		}
		c.args = append(c.args, arg)
		if p.sign(")") {
			return p.advance()
		}
		if !p.sign(",") {
			return p.unexpected(`an operator, a comma or ")"`)
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}
