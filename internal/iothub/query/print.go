package query

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// printer writes queries with as few parentheses as they need. It never writes more of them than were
// read, so what is printed is never nested deeper than the parser allows.
type printer struct{ strings.Builder }

func text(e expr) string {
	var w printer
	e.write(&w)
	return w.String()
}

// String writes the query so that it parses to the same again.
func (q *Query) String() string {
	var w printer
	w.WriteString("SELECT ")
	if q.top > 0 {
		w.WriteString("TOP " + strconv.Itoa(q.top) + " ")
	}
	if q.items == nil {
		w.WriteByte('*')
	}
	for i, it := range q.items {
		w.separate(i, "", ", ")
		it.write(&w)
	}
	w.WriteString(" FROM " + q.from.String())
	if q.where != nil {
		w.WriteString(" WHERE ")
		q.where.write(&w)
	}
	for i, p := range q.groupBy {
		w.separate(i, " GROUP BY ", ", ")
		p.write(&w)
	}
	return w.String()
}

// separate writes what stands before the first and before every other element.
func (w *printer) separate(i int, first, other string) {
	if i == 0 {
		w.WriteString(first)
		return
	}
	w.WriteString(other)
}

// operand writes an expression, in parentheses if its operator binds weaker than power.
func (w *printer) operand(e expr, power int) {
	if powerOf(e) >= power {
		e.write(w)
		return
	}
	w.WriteByte('(')
	e.write(w)
	w.WriteByte(')')
}

// powerOf is the binding power of an expression's outermost operator.
func powerOf(e expr) int {
	switch e := e.(type) {
	case binary:
		return binaryPower(e.op)
	case in:
		return powerCompare
	case unary:
		if e.op == "NOT" {
			return powerNot
		}
		return powerMinus
	default:
		return powerOperand
	}
}

func (it item) write(w *printer) {
	if it.aggregate != "" {
		w.WriteString(it.aggregate + "(")
		it.path.write(w)
		w.WriteByte(')')
	} else {
		it.path.write(w)
	}
	if it.name != "" {
		w.WriteString(" AS ")
		path{it.name}.write(w)
	}
}

func (l literal) write(w *printer) {
	switch l.value.Kind() {
	case jsonvalue.Undefined:
		w.WriteString("undefined")
	case jsonvalue.String:
		w.quote(l.value.Str())
	default:
		w.Write(l.value.AppendJSON(nil))
	}
}

func (w *printer) quote(s string) {
	w.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			w.WriteByte('\\')
			w.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(w, `\u%04X`, r)
		default:
			w.WriteRune(r)
		}
	}
	w.WriteByte('\'')
}

func (p path) write(w *printer) {
	for i, part := range p {
		w.separate(i, "", ".")
		if plainName(part, i == 0) {
			w.WriteString(part)
		} else {
			w.WriteString("[[" + part + "]]")
		}
	}
}

// plainName reports whether a part of a path needs no [[ ]]. A keyword needs them wherever it stands,
// as the language's reference has it.
func plainName(s string, first bool) bool {
	for at, r := range s {
		if !namePart(r) || (at == 0 && first && !nameStart(r)) {
			return false
		}
	}
	return s != "" && !keyword(s)
}

func (a array) write(w *printer) {
	w.WriteByte('[')
	for i, v := range a {
		w.separate(i, "", ", ")
		literal{v}.write(w)
	}
	w.WriteByte(']')
}

func (u unary) write(w *printer) {
	w.WriteString(u.op)
	if u.op == "NOT" {
		w.WriteByte(' ')
	}
	w.operand(u.x, powerOf(u))
}

func (n binary) write(w *printer) {
	power := powerOf(n)
	w.operand(n.x, power)
	w.WriteString(" " + n.op + " ")
	w.operand(n.y, power+1) // Operators group from the left.
}

func (n in) write(w *printer) {
	w.operand(n.x, powerCompare)
	if n.not {
		w.WriteString(" NIN ")
	} else {
		w.WriteString(" IN ")
	}
	n.values.write(w)
}

func (c call) write(w *printer) {
	w.WriteString(c.name + "(")
	for i, a := range c.args {
		w.separate(i, "", ", ")
		a.write(w)
	}
	w.WriteByte(')')
}
