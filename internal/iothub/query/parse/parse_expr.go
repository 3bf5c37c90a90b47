package parse

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/attribute"
	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/names"
)

// operator is the binary operator at the current token, with its power; 0 when there is none.
func (p *parser) operator() (string, int) {
	op := p.Now.Text
	switch p.Now.Kind {
	case scan.Sign:
		if op == "<>" {
			op = "!="
		}
		return op, tree.BinaryPower(op)
	case scan.Name:
		if p.Now.Escaped {
			return "", 0
		}
		op = strings.ToUpper(op)
		return op, tree.BinaryPower(op)
	default:
		return "", 0
	}
}

// nested runs f one level deeper.
func (p *parser) nested(f func() (tree.Expr, error)) (tree.Expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.Fail("the condition is nested more than %d levels deep", maxDepth)
	}
	defer func() { p.depth-- }()
	return f()
}

// Expr reads an expression whose operators bind stronger than power (Pratt's method). It calls itself
// only for stronger operators, so that operators alone never nest deep.
func (p *parser) expr(power int) (tree.Expr, error) {
	x, err := p.operand(power)
	if err != nil {
		return nil, err
	}
	for {
		op, strength := p.operator()
		if strength <= power {
			return x, nil
		}
		if err := p.Advance(); err != nil {
			return nil, err
		}
		if op == "IN" || op == "NIN" {
			if x, err = p.in(x, op); err != nil {
				return nil, err
			}
			continue
		}
		if strength == tree.PowerCompare {
			p.unquoted()
		}
		y, err := p.expr(strength)
		if err != nil {
			return nil, err
		}
		x = tree.Binary{Op: op, X: x, Y: y}
	}
}

// unquoted doubts a bare word after a comparison, which mostly is a string without quotes.
func (p *parser) unquoted() {
	t := p.Now
	if t.Kind != scan.Name || t.Escaped || len(t.Path) != 1 || scan.Keyword(t.Text) || p.from == tree.Jobs || p.FollowedBy("(") {
		return
	}
	if full := names.Canonical(t.Path); !attribute.Queryable(full) {
		p.doubt(p.Fail("unknown attribute %s", t.Text).WithHint("did you mean the string '%s', or properties.reported.%s?", t.Text, t.Text))
	}
}

// doubt notes a doubt; the first about a place stands.
func (p *parser) doubt(d *scan.SyntaxError) {
	if !slices.ContainsFunc(p.doubts, func(x *scan.SyntaxError) bool { return x.Offset == d.Offset }) {
		p.doubts = append(p.doubts, d)
	}
}

// sortedDoubts is what was noted, in the order of the text.
func (p *parser) sortedDoubts() []*scan.SyntaxError {
	slices.SortFunc(p.doubts, func(a, b *scan.SyntaxError) int { return a.Offset - b.Offset })
	return p.doubts
}

func (p *parser) in(x tree.Expr, op string) (tree.Expr, error) {
	if !p.Sign("[") {
		err := p.Unexpected("an array such as ['wired', 'wifi'] after " + op)
		if p.Sign("(") {
			err.Hint = "arrays stand in [ ]"
		}
		return nil, err
	}
	values, err := p.array()
	return tree.In{X: x, Values: values, Not: op == "NIN"}, err
}

// operand reads what an operator of the given power has to its right.
func (p *parser) operand(power int) (tree.Expr, error) {
	switch {
	case p.Now.Word("NOT"):
		if power > tree.PowerNot {
			return nil, p.Unexpected("a value").WithHint("write (NOT …) where its result is compared")
		}
		if err := p.Advance(); err != nil {
			return nil, err
		}
		x, err := p.nested(func() (tree.Expr, error) { return p.expr(tree.PowerNot) })
		return tree.Unary{Op: "NOT", X: x}, err
	case p.Sign("-"):
		if err := p.Advance(); err != nil {
			return nil, err
		}
		x, err := p.nested(func() (tree.Expr, error) { return p.expr(tree.PowerMinus) })
		if l, ok := x.(tree.Literal); ok && l.Value.Kind() == jsonvalue.Number {
			return tree.Literal{Value: jsonvalue.NumberValue(-l.Value.Num())}, err
		}
		return tree.Unary{Op: "-", X: x}, err
	case p.Sign("("):
		if err := p.Advance(); err != nil {
			return nil, err
		}
		x, err := p.nested(func() (tree.Expr, error) { return p.expr(0) })
		if err != nil {
			return nil, err
		}
		if !p.Sign(")") {
			return nil, p.Unexpected(`an operator or ")"`)
		}
		return x, p.Advance()
	case p.Sign("["):
		return p.array()
	case p.Now.Kind == scan.Name && !p.Now.Escaped && !scan.Keyword(p.Now.Text) && p.FollowedBy("("):
		return p.call()
	}
	if v, ok, err := p.constant(); ok || err != nil {
		return tree.Literal{Value: v}, err
	}
	return p.attribute()
}

// constant reads a constant; ok is false when the current token is none.
func (p *parser) constant() (v jsonvalue.Value, ok bool, err error) {
	switch {
	case p.Now.Kind == scan.String:
		v = jsonvalue.StringValue(p.Now.Text)
	case p.Now.Kind == scan.Number:
		if v, err = p.number(); err != nil {
			return v, false, err
		}
	case p.Now.Word("true"), p.Now.Word("false"):
		v = jsonvalue.BoolValue(p.Now.Word("true"))
	case p.Now.Word("null"):
		v = jsonvalue.NullValue()
	case p.Now.Word("undefined"):
	default:
		return v, false, nil
	}
	return v, true, p.Advance()
}

func (p *parser) number() (jsonvalue.Value, error) {
	var n float64
	var err error
	if rest, ok := strings.CutPrefix(strings.ToLower(p.Now.Text), "0x"); ok {
		var whole uint64
		whole, err = strconv.ParseUint(rest, 16, 64)
		n = float64(whole)
	} else {
		n, err = strconv.ParseFloat(p.Now.Text, 64)
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return jsonvalue.Value{}, p.Fail("the number %s is too large", p.Now.Describe())
	case err != nil:
		return jsonvalue.Value{}, p.Fail("%s is not a number", p.Now.Describe())
	}
	return jsonvalue.NumberValue(n), nil
}

func (p *parser) array() (tree.Array, error) {
	if err := p.Advance(); err != nil {
		return nil, err
	}
	values := tree.Array{}
	if p.Sign("]") {
		return values, p.Advance()
	}
	for {
		v, err := p.arrayElement()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if p.Sign("]") {
			return values, p.Advance()
		}
		if !p.Sign(",") {
			return nil, p.Unexpected(`a comma or "]"`)
		}
		if err := p.Advance(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) arrayElement() (jsonvalue.Value, error) {
	negative := p.Sign("-")
	if negative {
		if err := p.Advance(); err != nil {
			return jsonvalue.Value{}, err
		}
		if p.Now.Kind != scan.Number {
			return jsonvalue.Value{}, p.Unexpected("a number")
		}
	}
	at := p.Now
	v, ok, err := p.constant()
	switch {
	case err != nil:
		return v, err
	case !ok:
		err := p.Unexpected("a constant")
		err.Hint = "arrays hold strings, numbers, true, false and null"
		if at.Kind == scan.Name && len(at.Path) == 1 && !at.Escaped && !scan.Keyword(at.Text) {
			err.Hint = "did you mean the string '" + at.Text + "'?"
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
	case "STARTSWITH", "ENDSWITH", "ARRAY_CONTAINS":
		return 2
	default:
		return 0
	}
}

func (p *parser) unknownFunction(name string) error {
	err := p.Fail("unknown function %s", p.Now.Text).WithHint("there are IS_DEFINED, STARTSWITH, ENDSWITH and ARRAY_CONTAINS")
	routing := []string{
		"CONTAINS", "CONCAT", "LENGTH", "LOWER", "UPPER", "SUBSTRING", "INDEX_OF", "AS_NUMBER", "ABS", "EXP", "POWER", "SQUARE",
		"CEILING", "FLOOR", "SIGN", "SQRT",
	}
	switch {
	case name == "STARTS_WITH":
		err.Hint = "write STARTSWITH"
	case name == "ENDS_WITH":
		err.Hint = "write ENDSWITH"
	case isAggregate(name):
		err.Hint = "aggregates stand after SELECT only"
	case slices.Contains(routing, name), strings.HasPrefix(name, "IS_"):
		err.Hint = "message routing has it, queries on twins have only IS_DEFINED, STARTSWITH, ENDSWITH and ARRAY_CONTAINS"
	}
	return err
}

func (p *parser) call() (tree.Expr, error) {
	c := tree.Call{Name: strings.ToUpper(p.Now.Text)}
	want := arity(c.Name)
	if want == 0 {
		return nil, p.unknownFunction(c.Name)
	}
	start := p.Now.Offset
	if err := p.Advance(); err != nil {
		return nil, err
	}
	if err := p.arguments(&c); err != nil {
		return nil, err
	}
	if len(c.Args) != want {
		return nil, scan.ErrorAt(p.SQL, start, "%s takes %d %s, found %d", c.Name, want, plural("argument", want), len(c.Args))
	}
	if _, isPath := c.Args[0].(tree.Path); c.Name == "IS_DEFINED" && !isPath {
		return nil, scan.ErrorAt(p.SQL, start, "IS_DEFINED takes an attribute such as properties.reported.connectivity")
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
func (p *parser) arguments(c *tree.Call) error {
	if err := p.Advance(); err != nil {
		return err
	}
	if p.Sign(")") {
		return p.Advance()
	}
	for {
		arg, err := p.nested(func() (tree.Expr, error) { return p.expr(0) })
		if err != nil {
			return err
		}
		c.Args = append(c.Args, arg)
		if p.Sign(")") {
			return p.Advance()
		}
		if !p.Sign(",") {
			return p.Unexpected(`an operator, a comma or ")"`)
		}
		if err := p.Advance(); err != nil {
			return err
		}
	}
}

// attribute reads a path.
func (p *parser) attribute() (tree.Path, error) {
	var t scan.Token
	if err := p.named(&t); err != nil {
		return nil, err
	}
	return p.resolve(t)
}

// resolve finds the path that an attribute names in the collection that is read, and doubts one that nothing has.
func (p *parser) resolve(t scan.Token) (tree.Path, error) {
	if t.Reserved != "" {
		return nil, scan.ErrorAt(p.SQL, t.Offset, "%s is a keyword", t.Reserved).WithHint("write it as [[%s]] where it is a name, as in tags.[[group]].x", t.Reserved)
	}
	full, problem, hint := attribute.Resolve(t.Path, t.Text, p.from)
	if problem != "" {
		p.doubt(scan.ErrorAt(p.SQL, t.Offset, "%s", problem).WithHint("%s", hint))
	}
	return full, nil
}
