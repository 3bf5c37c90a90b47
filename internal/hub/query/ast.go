package query

import (
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Collection is what a query reads.
type Collection uint8

// The collections.
const (
	Devices Collection = iota
	Modules
	Jobs
)

// String is the collection as queries name it.
func (c Collection) String() string {
	return [...]string{"devices", "devices.modules", "devices.jobs"}[c]
}

// Query is a parsed query. It is immutable.
type Query struct {
	text    string
	top     int    // 0 for no limit
	items   []item // nil for *
	from    Collection
	where   expr   // nil for all
	groupBy []path // nil for none
}

// item is one element of a select list.
type item struct {
	aggregate string // COUNT, AVG, SUM, MIN, MAX; empty for a plain attribute
	path      path   // nil for COUNT()
	name      string // of the member in the result
}

// expr is a node of a condition.
type expr interface{ write(b *strings.Builder) }

type (
	literal struct{ value twin.Value }
	path    []string
	array   []twin.Value
	unary   struct {
		op string // NOT or -
		x  expr
	}
	binary struct {
		op   string // AND OR = != < <= > >= + - * / %
		x, y expr
	}
	in struct {
		x      expr
		values array
		not    bool
	}
	call struct {
		name string // IS_DEFINED, STARTSWITH, ENDSWITH
		args []expr
	}
)

func (l literal) write(b *strings.Builder) {
	switch l.value.Kind() {
	case twin.Undefined:
		b.WriteString("undefined")
	case twin.String:
		b.WriteByte('\'')
		for _, r := range l.value.Str() {
			switch r {
			case '\'', '\\':
				b.WriteByte('\\')
				b.WriteRune(r)
			case '\n':
				b.WriteString(`\n`)
			case '\r':
				b.WriteString(`\r`)
			case '\t':
				b.WriteString(`\t`)
			default:
				b.WriteRune(r)
			}
		}
		b.WriteByte('\'')
	default:
		b.Write(l.value.AppendJSON(nil))
	}
}

func (p path) write(b *strings.Builder) {
	for i, part := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		if plainName(part, i > 0) {
			b.WriteString(part)
		} else {
			b.WriteString("[[" + part + "]]")
		}
	}
}

// plainName reports whether a part of a path needs no [[ ]].
func plainName(s string, later bool) bool {
	for i, r := range s {
		if !namePart(r) || (i == 0 && !later && !nameStart(r)) {
			return false
		}
	}
	return s != "" && !keyword(s)
}

func (a array) write(b *strings.Builder) {
	b.WriteByte('[')
	for i, v := range a {
		if i > 0 {
			b.WriteString(", ")
		}
		literal{v}.write(b)
	}
	b.WriteByte(']')
}

func (u unary) write(b *strings.Builder) {
	b.WriteString(u.op)
	if u.op == "NOT" {
		b.WriteByte(' ')
	}
	b.WriteByte('(')
	u.x.write(b)
	b.WriteByte(')')
}

func (n binary) write(b *strings.Builder) {
	b.WriteByte('(')
	n.x.write(b)
	b.WriteString(" " + n.op + " ")
	n.y.write(b)
	b.WriteByte(')')
}

func (n in) write(b *strings.Builder) {
	b.WriteByte('(')
	n.x.write(b)
	if n.not {
		b.WriteString(" NIN ")
	} else {
		b.WriteString(" IN ")
	}
	n.values.write(b)
	b.WriteByte(')')
}

func (c call) write(b *strings.Builder) {
	b.WriteString(c.name + "(")
	for i, a := range c.args {
		if i > 0 {
			b.WriteString(", ")
		}
		a.write(b)
	}
	b.WriteByte(')')
}

// String writes the query so that it parses to the same again.
func (q *Query) String() string {
	var b strings.Builder
	b.WriteString("SELECT ")
	if q.top > 0 {
		b.WriteString("TOP " + strconv.Itoa(q.top) + " ")
	}
	if q.items == nil {
		b.WriteByte('*')
	}
	for i, it := range q.items {
		if i > 0 {
			b.WriteString(", ")
		}
		if it.aggregate != "" {
			b.WriteString(it.aggregate + "(")
			it.path.write(&b)
			b.WriteByte(')')
		} else {
			it.path.write(&b)
		}
		if it.name != "" {
			b.WriteString(" AS ")
			path{it.name}.write(&b)
		}
	}
	b.WriteString(" FROM " + q.from.String())
	if q.where != nil {
		b.WriteString(" WHERE ")
		q.where.write(&b)
	}
	for i, p := range q.groupBy {
		b.WriteString([]string{" GROUP BY ", ", "}[min(i, 1)])
		p.write(&b)
	}
	return b.String()
}

// From is what the query reads.
func (q *Query) From() Collection { return q.from }

// Raw reports whether the result is rows of the query's own making, not whole twins or jobs.
func (q *Query) Raw() bool { return q.items != nil }

func (q *Query) aggregates() bool {
	if q.groupBy != nil {
		return true
	}
	for _, it := range q.items {
		if it.aggregate != "" {
			return true
		}
	}
	return false
}
