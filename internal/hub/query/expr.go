package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// The binding powers of operators, weakest first.
const (
	powerOr = iota + 1
	powerAnd
	powerNot
	powerCompare
	powerAdd
	powerMultiply
	powerMinus
)

// operator is the binary operator at the current token, with its power; "" when there is none.
func (p *parser) operator() (string, int) {
	if p.now.kind == tokenName && !p.now.escaped && len(p.now.path) == 1 {
		switch w := strings.ToUpper(p.now.text); w {
		case "OR":
			return w, powerOr
		case "AND":
			return w, powerAnd
		case "IN", "NIN":
			return w, powerCompare
		}
		return "", 0
	}
	if p.now.kind != tokenSign {
		return "", 0
	}
	switch p.now.text {
	case "<>":
		return "!=", powerCompare
	case "=", "!=", "<", "<=", ">", ">=":
		return p.now.text, powerCompare
	case "+", "-":
		return p.now.text, powerAdd
	case "*", "/", "%":
		return p.now.text, powerMultiply
	}
	return "", 0
}

// expr reads an expression whose operators bind stronger than power.
func (p *parser) expr(power int) (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("the condition is nested more than %d levels deep", maxDepth)
	}
	defer func() { p.depth-- }()
	x, err := p.operand()
	if err != nil {
		return nil, err
	}
	for {
		op, strength := p.operator()
		if op == "" || strength <= power {
			return x, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if op == "IN" || op == "NIN" {
			if !p.sign("[") {
				return nil, p.unexpected("an array such as ['wired', 'wifi'] after " + op)
			}
			values, err := p.array()
			if err != nil {
				return nil, err
			}
			x = in{x, values, op == "NIN"}
			continue
		}
		y, err := p.expr(strength)
		if err != nil {
			return nil, err
		}
		x = binary{op, x, y}
	}
}

func (p *parser) operand() (expr, error) {
	switch {
	case p.word("NOT"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.expr(powerNot)
		return unary{"NOT", x}, err
	case p.sign("-"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.expr(powerMinus)
		if l, ok := x.(literal); ok && l.value.Kind() == twin.Number {
			return literal{twin.NumberValue(-l.value.Num())}, err
		}
		return unary{"-", x}, err
	case p.sign("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.expr(0)
		if err != nil {
			return nil, err
		}
		return x, p.expectSign(")")
	case p.sign("["):
		values, err := p.array()
		return values, err
	case p.now.kind == tokenName && p.followedBy("("):
		return p.call()
	}
	if v, ok, err := p.constant(); ok || err != nil {
		return literal{v}, err
	}
	return p.attribute()
}

// constant reads a constant; ok is false when the current token is none.
func (p *parser) constant() (v twin.Value, ok bool, err error) {
	switch {
	case p.now.kind == tokenString:
		v = twin.StringValue(p.now.text)
	case p.now.kind == tokenNumber:
		n, err := number(p.now.text)
		if err != nil {
			return v, false, p.fail("%q is not a number", p.now.text)
		}
		v = twin.NumberValue(n)
	case p.word("true"), p.word("false"):
		v = twin.BoolValue(p.word("true"))
	case p.word("null"):
		v = twin.NullValue()
	case p.word("undefined"):
	default:
		return v, false, nil
	}
	return v, true, p.advance()
}

func number(text string) (float64, error) {
	if rest, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		n, err := strconv.ParseUint(rest, 16, 53)
		return float64(n), err
	}
	if strings.ContainsAny(text, "_xXpP") || strings.ContainsAny(text, "iInN") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, 64)
}

func (p *parser) array() (array, error) {
	if err := p.expectSign("["); err != nil {
		return nil, err
	}
	values := array{}
	for !p.sign("]") {
		negative := p.sign("-")
		if negative {
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		v, ok, err := p.constant()
		if err != nil {
			return nil, err
		}
		if !ok || (negative && v.Kind() != twin.Number) {
			return nil, p.unexpected("a constant")
		}
		if negative {
			v = twin.NumberValue(-v.Num())
		}
		values = append(values, v)
		if !p.sign(",") {
			break
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	return values, p.expectSign("]")
}

func (p *parser) call() (expr, error) {
	name := strings.ToUpper(p.now.text)
	arity := map[string]int{"IS_DEFINED": 1, "STARTSWITH": 2, "ENDSWITH": 2}
	want, known := arity[name]
	if !known {
		hint := "there are IS_DEFINED, STARTSWITH and ENDSWITH"
		switch {
		case name == "STARTS_WITH":
			hint = "write STARTSWITH"
		case name == "ENDS_WITH":
			hint = "write ENDSWITH"
		case slices.Contains([]string{"COUNT", "AVG", "SUM", "MIN", "MAX"}, name):
			hint = "aggregates stand after SELECT only"
		}
		return nil, p.fail("unknown function %s; %s", p.now.text, hint)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	c := call{name: name}
	for !p.sign(")") {
		arg, err := p.expr(0)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		if !p.sign(",") {
			break
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	if !p.sign(")") {
		return nil, p.unexpected(`")"`)
	}
	if len(c.args) != want {
		return nil, p.fail("%s takes %d arguments, found %d", name, want, len(c.args))
	}
	if _, isPath := c.args[0].(path); name == "IS_DEFINED" && !isPath {
		return nil, p.fail("IS_DEFINED takes an attribute such as properties.reported.connectivity")
	}
	return c, p.advance()
}
