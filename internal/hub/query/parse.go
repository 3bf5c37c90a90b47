package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// MaxLength is how many characters a query may have (iot-hub-devguide-query-language).
const MaxLength = 8192

// maxDepth bounds the nesting of a condition, so that no query exhausts the stack.
const maxDepth = 100

func keyword(s string) bool {
	switch strings.ToUpper(s) {
	case "SELECT", "TOP", "FROM", "WHERE", "GROUP", "BY", "AS", "AND", "OR", "NOT", "IN", "NIN", "NULL", "TRUE", "FALSE", "UNDEFINED":
		return true
	}
	return false
}

// Parse reads a query. Its errors are *SyntaxError.
func Parse(sql string) (*Query, error) {
	p, err := newParser(sql)
	if err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return q, nil
}

// Condition reads the condition of a job: what stands behind WHERE. An empty one selects all devices.
func Condition(text string) (*Query, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	q := &Query{text: text}
	if p.now.kind == tokenEnd || text == "*" {
		return q, nil
	}
	if q.where, err = p.expr(0); err != nil {
		return nil, err
	}
	if p.now.kind != tokenEnd {
		return nil, p.unexpected("an operator or the end of the condition")
	}
	return q, nil
}

type parser struct {
	lexer
	now   token
	from  Collection
	depth int
}

func newParser(sql string) (*parser, error) {
	if len(sql) > MaxLength {
		return nil, errorAt(sql, MaxLength, "the query has %d characters; at most %d are allowed", len(sql), MaxLength)
	}
	p := &parser{lexer: lexer{sql: sql}}
	return p, p.advance()
}

func (p *parser) advance() (err error) {
	p.now, err = p.next()
	return err
}

func (p *parser) fail(format string, a ...any) error {
	return errorAt(p.sql, p.now.offset, format, a...)
}

// unexpected is the error for a token that stands where something else should.
func (p *parser) unexpected(want string) error {
	hint := ""
	if p.now.kind == tokenName && len(p.now.path) == 1 {
		switch strings.ToUpper(p.now.text) {
		case "ORDER", "LIMIT", "OFFSET", "JOIN", "HAVING", "UNION", "LIKE", "BETWEEN", "DISTINCT":
			hint = "; the IoT Hub query language has no " + strings.ToUpper(p.now.text)
		}
	}
	if p.now.kind == tokenSign && p.now.text == "==" {
		hint = "; compare with a single ="
	}
	return p.fail("expected %s, found %s%s", want, p.now.describe(), hint)
}

// word reports whether the current token is a keyword.
func (p *parser) word(w string) bool {
	return p.now.kind == tokenName && !p.now.escaped && len(p.now.path) == 1 && strings.EqualFold(p.now.text, w)
}

func (p *parser) sign(s string) bool { return p.now.kind == tokenSign && p.now.text == s }

// accept moves past a keyword if it is the current token.
func (p *parser) accept(w string) (bool, error) {
	if !p.word(w) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expectWord(w string) error {
	if ok, err := p.accept(w); ok || err != nil {
		return err
	}
	return p.unexpected(w)
}

func (p *parser) expectSign(s string) error {
	if !p.sign(s) {
		return p.unexpected(strconv.Quote(s))
	}
	return p.advance()
}

func (p *parser) query() (*Query, error) {
	q := &Query{text: p.sql}
	if err := p.expectWord("SELECT"); err != nil {
		return nil, err
	}
	if ok, err := p.accept("TOP"); err != nil {
		return nil, err
	} else if ok {
		n, err := strconv.Atoi(p.now.text)
		if p.now.kind != tokenNumber || err != nil || n < 1 {
			return nil, p.unexpected("a whole number above 0 after TOP")
		}
		q.top = n
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	// What may be selected depends on FROM, which comes later: the list is read twice.
	list := *p
	if err := p.skipTo("FROM"); err != nil {
		return nil, err
	}
	if err := p.source(q); err != nil {
		return nil, err
	}
	list.from = q.from
	if err := list.selectList(q); err != nil {
		return nil, err
	}
	p.from = q.from
	return q, p.rest(q)
}

func (p *parser) skipTo(w string) error {
	for !p.word(w) {
		if p.now.kind == tokenEnd {
			return p.unexpected(w)
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	return p.advance()
}

func (p *parser) source(q *Query) error {
	if p.now.kind != tokenName {
		return p.unexpected("devices, devices.modules or devices.jobs")
	}
	switch strings.ToLower(p.now.text) {
	case "devices":
		q.from = Devices
	case "devices.modules":
		q.from = Modules
	case "devices.jobs":
		q.from = Jobs
	default:
		return p.unexpected("devices, devices.modules or devices.jobs")
	}
	return p.advance()
}

func (p *parser) rest(q *Query) error {
	if ok, err := p.accept("WHERE"); err != nil {
		return err
	} else if ok {
		if q.where, err = p.expr(0); err != nil {
			return err
		}
	}
	if ok, err := p.accept("GROUP"); err != nil {
		return err
	} else if ok {
		if err := p.groupBy(q); err != nil {
			return err
		}
	}
	if p.now.kind != tokenEnd {
		return p.unexpected("the end of the query")
	}
	return p.check(q)
}

func (p *parser) groupBy(q *Query) error {
	if q.from != Devices {
		return p.fail("GROUP BY works on devices only")
	}
	if err := p.expectWord("BY"); err != nil {
		return err
	}
	for {
		attribute, err := p.attribute()
		if err != nil {
			return err
		}
		q.groupBy = append(q.groupBy, attribute)
		if !p.sign(",") {
			return nil
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

// check holds the rules that span the whole query.
func (p *parser) check(q *Query) error {
	if q.from == Jobs && q.items != nil {
		return errorAt(p.sql, 0, "devices.jobs can only be read with SELECT *")
	}
	if !q.aggregates() {
		return nil
	}
	if q.items == nil {
		return errorAt(p.sql, 0, "GROUP BY needs a list of attributes and aggregates after SELECT, not *")
	}
	for _, it := range q.items {
		if it.aggregate == "" && !slices.ContainsFunc(q.groupBy, func(g path) bool { return slices.Equal(g, it.path) }) {
			return errorAt(p.sql, 0, "%s stands beside an aggregate; name it in GROUP BY too", strings.Join(it.path, "."))
		}
	}
	return nil
}

func (p *parser) selectList(q *Query) error {
	if p.sign("*") {
		if err := p.advance(); err != nil {
			return err
		}
		return p.expectWord("FROM")
	}
	for {
		it, err := p.item()
		if err != nil {
			return err
		}
		q.items = append(q.items, it)
		if p.word("FROM") {
			return nil
		}
		if !p.sign(",") {
			return p.unexpected("AS, a comma or FROM")
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

func (p *parser) item() (item, error) {
	var it item
	if p.now.kind != tokenName || p.word("FROM") {
		return it, p.unexpected("*, an attribute or an aggregate")
	}
	if name := strings.ToUpper(p.now.text); slices.Contains([]string{"COUNT", "AVG", "SUM", "MIN", "MAX"}, name) && p.followedBy("(") {
		it.aggregate = name
		if err := p.advance(); err != nil {
			return it, err
		}
		if err := p.advance(); err != nil {
			return it, err
		}
		if name == "COUNT" && p.sign("*") {
			return it, p.fail("write COUNT() without *")
		}
		if name != "COUNT" || !p.sign(")") {
			var err error
			if it.path, err = p.attribute(); err != nil {
				return it, err
			}
		}
		if err := p.expectSign(")"); err != nil {
			return it, err
		}
	} else {
		if p.word("DISTINCT") {
			return it, p.unexpected("*, an attribute or an aggregate")
		}
		var err error
		if it.path, err = p.attribute(); err != nil {
			return it, err
		}
	}
	if ok, err := p.accept("AS"); err != nil || !ok {
		return it, err
	}
	if p.now.kind != tokenName || len(p.now.path) != 1 {
		return it, p.unexpected("a name after AS")
	}
	it.name = p.now.path[0]
	return it, p.advance()
}

func (p *parser) followedBy(sign string) bool {
	ahead := p.lexer
	t, err := ahead.next()
	return err == nil && t.kind == tokenSign && t.text == sign
}

// attribute reads a path and holds it to what can be queried.
func (p *parser) attribute() (path, error) {
	if p.now.kind != tokenName || (!p.now.escaped && len(p.now.path) == 1 && keyword(p.now.text)) {
		return nil, p.unexpected("an attribute such as tags.location.plant")
	}
	full := path(p.now.path)
	if p.from == Jobs {
		if len(full) > 2 && strings.EqualFold(full[0], "devices") && strings.EqualFold(full[1], "jobs") {
			full = full[2:]
		}
		return full, p.advance()
	}
	if len(full) > 1 && strings.EqualFold(full[0], "devices") {
		full = full[1:]
	}
	full = twin.CanonicalPath(full)
	if !queryable(full) {
		return nil, p.fail("unknown attribute %s; did you mean %s?", p.now.text, guess(full, p.now.text))
	}
	return full, p.advance()
}

// guess is what an unknown attribute was probably meant to be.
func guess(p path, text string) string {
	switch {
	case p[0] == "reported" || p[0] == "desired":
		return "properties." + text
	case p[0] == "properties" && len(p) > 1:
		return "properties.reported" + strings.TrimPrefix(text, "properties")
	default:
		return "properties.reported." + text + " or tags." + text
	}
}

// queryable reports whether the service can query a path (iot-hub-devguide-query-language).
func queryable(p path) bool {
	switch p[0] {
	case "properties":
		return len(p) > 1 && (p[1] == "desired" || p[1] == "reported")
	case "tags", "x509Thumbprint", "capabilities":
		return true
	case "deviceId", "moduleId", "etag", "deviceEtag", "status", "statusReason", "statusUpdateTime", "connectionState", "lastActivityTime",
		"cloudToDeviceMessageCount", "authenticationType", "version", "modelId":
		return len(p) == 1
	}
	return false
}
