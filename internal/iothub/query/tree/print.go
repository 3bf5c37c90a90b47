package tree

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
)

// printer writes queries with as few parentheses as they need. It never writes more of them than were
// read, so what is printed is never nested deeper than the parser allows.
type printer struct{ strings.Builder }

// Text is an expression as queries write it.
func Text(e Expr) string {
	var w printer
	e.write(&w)
	return w.String()
}

// String writes the query so that it parses to the same.
func (q *Query) String() string {
	var w printer
	w.WriteString("SELECT ")
	if q.Top > 0 {
		w.WriteString("TOP " + strconv.Itoa(q.Top) + " ")
	}
	if q.Items == nil {
		w.WriteByte('*')
	}
	for i, it := range q.Items {
		w.separate(i, "", ", ")
		it.write(&w)
	}
	w.WriteString(" FROM " + q.From.String())
	if q.Where != nil {
		w.WriteString(" WHERE ")
		q.Where.write(&w)
	}
	for i, p := range q.GroupBy {
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
func (w *printer) operand(e Expr, power int) {
	if powerOf(e) >= power {
		e.write(w)
		return
	}
	w.WriteByte('(')
	e.write(w)
	w.WriteByte(')')
}

func (it Item) write(w *printer) {
	if it.Aggregate != "" {
		w.WriteString(it.Aggregate + "(")
		it.Path.write(w)
		w.WriteByte(')')
	} else {
		it.Path.write(w)
	}
	if it.Name != "" {
		w.WriteString(" AS ")
		Path{it.Name}.write(w)
	}
}

func (l Literal) write(w *printer) {
	switch l.Value.Kind() {
	case jsonvalue.Undefined:
		w.WriteString("undefined")
	case jsonvalue.String:
		w.quote(l.Value.Str())
	default:
		w.Write(l.Value.AppendJSON(nil))
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

func (p Path) write(w *printer) {
	for i, part := range p {
		w.separate(i, "", ".")
		if scan.PlainName(part, i == 0) {
			w.WriteString(part)
		} else {
			w.WriteString("[[" + part + "]]")
		}
	}
}

func (a Array) write(w *printer) {
	w.WriteByte('[')
	for i, v := range a {
		w.separate(i, "", ", ")
		Literal{v}.write(w)
	}
	w.WriteByte(']')
}

func (u Unary) write(w *printer) {
	w.WriteString(u.Op)
	if u.Op == "NOT" {
		w.WriteByte(' ')
	}
	w.operand(u.X, powerOf(u))
}

func (n Binary) write(w *printer) {
	power := powerOf(n)
	w.operand(n.X, power)
	w.WriteString(" " + n.Op + " ")
	w.operand(n.Y, power+1) // Operators group from the left.
}

func (n In) write(w *printer) {
	w.operand(n.X, PowerCompare)
	if n.Not {
		w.WriteString(" NIN ")
	} else {
		w.WriteString(" IN ")
	}
	n.Values.write(w)
}

func (c Call) write(w *printer) {
	w.WriteString(c.Name + "(")
	for i, a := range c.Args {
		w.separate(i, "", ", ")
		a.write(w)
	}
	w.WriteByte(')')
}
