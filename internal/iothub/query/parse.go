package query

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxLength is how many characters a query may have (iot-hub-devguide-query-language).
const MaxLength = 8192

// maxDepth bounds the parentheses, NOTs and functions around each other, so that no query exhausts
// the stack.
const maxDepth = 100

func keyword(s string) bool {
	switch strings.ToUpper(s) {
	case "SELECT", "TOP", "FROM", "WHERE", "GROUP", "BY", "AS", "AND", "OR", "NOT", "IN", "NIN", "NULL", "TRUE", "FALSE", "UNDEFINED":
		return true
	}
	return false
}

func aggregate(s string) bool {
	switch s {
	case "COUNT", "AVG", "SUM", "MIN", "MAX":
		return true
	}
	return false
}

// Parse reads a query of at most [MaxLength] characters. Its errors are *[SyntaxError].
func Parse(sql string) (*Query, error) {
	p, err := newParser(sql)
	if err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return q.compiled(), nil
}

// Condition reads the condition of a job: what stands behind WHERE, such as deviceId IN ['a', 'b']. An
// empty one and * select all devices (iot-hub-devguide-jobs). The result is the query that selects the
// job's devices. Its errors are *[SyntaxError], and count from the start of text.
func Condition(text string) (*Query, error) {
	q := &Query{text: text}
	if all := strings.TrimSpace(text); all == "" || all == "*" {
		return q.compiled(), nil
	}
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	if p.now.word("SELECT") {
		return nil, p.unexpected("a condition").hint("leave out SELECT … WHERE")
	}
	if q.where, err = p.expr(0); err != nil {
		return nil, err
	}
	if p.now.kind != tokenEnd {
		return nil, p.unexpected("an operator or the end of the condition")
	}
	return q.compiled(), nil
}

type parser struct {
	lexer
	now   token
	from  Collection
	depth int
}

func newParser(sql string) (*parser, error) {
	for at, r := range sql {
		if _, n := utf8.DecodeRuneInString(sql[at:]); r == utf8.RuneError && n == 1 {
			return nil, errorAt(sql, at, "the query is not valid UTF-8")
		}
	}
	if n := utf8.RuneCountInString(sql); n > MaxLength {
		end := 0
		for range MaxLength {
			_, size := utf8.DecodeRuneInString(sql[end:])
			end += size
		}
		return nil, errorAt(sql, end, "the query has %d characters; at most %d are allowed", n, MaxLength)
	}
	p := &parser{lexer: lexer{sql: sql}}
	return p, p.advance()
}

func (p *parser) advance() (err error) {
	p.now, err = p.next()
	return err
}

func (p *parser) fail(format string, a ...any) *SyntaxError {
	return errorAt(p.sql, p.now.offset, format, a...)
}

// unexpected is the error for a token that stands where something else should.
func (p *parser) unexpected(want string) *SyntaxError {
	err := p.fail("expected %s, found %s", want, p.now.describe())
	switch {
	case p.now.kind == tokenName && len(p.now.path) == 1 && !p.now.escaped:
		err.Hint = wordHint(p.now.text)
	case p.sign("=="):
		err.Hint = "compare with a single ="
	case p.sign("["):
		err.Hint = "elements of arrays cannot be reached; a name with other characters is written as in tags.[[my-key]]"
	}
	return err
}

func (p *parser) sign(s string) bool { return p.now.kind == tokenSign && p.now.text == s }

// accept moves past a keyword if it is the current token.
func (p *parser) accept(w string) (bool, error) {
	if !p.now.word(w) {
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

// element is an item as it was read. What may be selected depends on FROM, which comes later: the
// attributes are looked at afterwards.
type element struct {
	item
	start, attribute token
}

func (p *parser) query() (*Query, error) {
	q := &Query{text: p.sql}
	if err := p.expectWord("SELECT"); err != nil {
		return nil, err
	}
	if err := p.top(q); err != nil {
		return nil, err
	}
	list, err := p.selectList()
	if err != nil {
		return nil, err
	}
	if err := p.source(q); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].attribute.path == nil {
			continue
		}
		if list[i].path, err = p.resolve(list[i].attribute); err != nil {
			return nil, err
		}
	}
	if err := p.rest(q, len(list) > 0); err != nil {
		return nil, err
	}
	if err := p.check(q, list); err != nil {
		return nil, err
	}
	for _, e := range list {
		q.items = append(q.items, e.item)
	}
	return q, nil
}

func (p *parser) top(q *Query) error {
	ok, err := p.accept("TOP")
	if !ok || err != nil {
		return err
	}
	n, err := strconv.Atoi(p.now.text)
	if p.now.kind != tokenNumber || err != nil || n < 1 {
		return p.unexpected("a whole number above 0 after TOP")
	}
	q.top = n
	return p.advance()
}

// selectList reads up to and with FROM; it returns nothing for *.
func (p *parser) selectList() ([]element, error) {
	if p.sign("*") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.sign(",") || p.now.word("AS") {
			return nil, p.unexpected("FROM").hint("* stands alone")
		}
		return nil, p.expectWord("FROM")
	}
	var list []element
	for {
		e, err := p.element()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if p.now.word("FROM") {
			return list, p.advance()
		}
		if !p.sign(",") {
			return nil, p.unexpected("AS, a comma or FROM")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) element() (element, error) {
	const want = "*, an attribute or an aggregate"
	e := element{start: p.now}
	name := strings.ToUpper(p.now.text)
	switch {
	case p.sign("*"):
		return e, p.unexpected("an attribute or an aggregate").hint("* stands alone")
	case p.now.kind != tokenName || p.now.word("FROM"):
		return e, p.unexpected(want)
	case p.followedBy("("):
		if !aggregate(name) || p.now.escaped {
			return e, p.fail("unknown aggregate %s", p.now.text).hint("there are COUNT(), AVG, SUM, MIN and MAX")
		}
		e.aggregate = name
		if err := p.aggregated(&e); err != nil {
			return e, err
		}
	case wordHint(p.now.text) != "" && !p.now.escaped:
		return e, p.unexpected(want)
	default:
		if err := p.named(&e.attribute); err != nil {
			return e, err
		}
	}
	if ok, err := p.accept("AS"); err != nil || !ok {
		return e, err
	}
	if p.now.kind == tokenString {
		return e, p.unexpected("a name after AS").hint("write it without quotes, or in [[ ]]")
	}
	if p.now.kind != tokenName || len(p.now.path) != 1 {
		return e, p.unexpected("a name after AS")
	}
	if !p.now.escaped && keyword(p.now.text) {
		return e, p.unexpected("a name after AS").hint("write a keyword as AS [[%s]] where it is a name", p.now.text)
	}
	e.name = p.now.path[0]
	return e, p.advance()
}

// aggregated reads an aggregate from its name to its closing parenthesis.
func (p *parser) aggregated(e *element) error {
	if err := p.advance(); err != nil {
		return err
	}
	if err := p.advance(); err != nil {
		return err
	}
	if e.aggregate != "COUNT" {
		if err := p.named(&e.attribute); err != nil {
			return err
		}
	} else if !p.sign(")") {
		return p.unexpected(`")"`).hint("COUNT() counts rows and takes nothing; choose the rows with WHERE IS_DEFINED(…)")
	}
	return p.expectSign(")")
}

// named reads the token of an attribute, to be resolved when the collection is known.
func (p *parser) named(into *token) error {
	if p.now.kind != tokenName || (len(p.now.path) == 1 && !p.now.escaped && keyword(p.now.text)) {
		return p.unexpected("an attribute such as tags.location.plant")
	}
	*into = p.now
	return p.advance()
}

// followedBy reports whether a sign comes after the current token.
func (p *parser) followedBy(sign string) bool {
	ahead := p.lexer
	t, err := ahead.next()
	return err == nil && t.kind == tokenSign && t.text == sign
}

func (p *parser) source(q *Query) error {
	const want = "devices, devices.modules or devices.jobs"
	if p.now.kind != tokenName {
		return p.unexpected(want)
	}
	switch strings.ToLower(p.now.text) {
	case "devices":
		q.from = Devices
	case "devices.modules":
		q.from = Modules
	case "devices.jobs":
		q.from = Jobs
	default:
		return p.unexpected(want)
	}
	p.from = q.from
	if err := p.advance(); err != nil {
		return err
	}
	if p.now.word("AS") || p.now.kind == tokenName && !keyword(p.now.text) && wordHint(p.now.text) == "" || p.sign(",") {
		return p.unexpected("WHERE, GROUP BY or the end of the query").hint("a query reads one collection, which takes no other name")
	}
	return nil
}

// rest reads what follows the collection.
func (p *parser) rest(q *Query, list bool) error {
	want := "WHERE, GROUP BY or the end of the query"
	if ok, err := p.accept("WHERE"); err != nil {
		return err
	} else if ok {
		if q.where, err = p.expr(0); err != nil {
			return err
		}
		want = "an operator, GROUP BY or the end of the query"
	}
	if p.now.word("GROUP") {
		switch {
		case q.from != Devices:
			return p.fail("GROUP BY works on devices only")
		case !list:
			return p.fail("GROUP BY needs a list of attributes and aggregates after SELECT, not *")
		}
		if err := p.groupBy(q); err != nil {
			return err
		}
		want = "a comma or the end of the query"
	}
	if p.now.kind != tokenEnd {
		return p.unexpected(want)
	}
	return nil
}

func (p *parser) groupBy(q *Query) error {
	if err := p.advance(); err != nil {
		return err
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
func (p *parser) check(q *Query, list []element) error {
	if len(list) == 0 {
		return nil
	}
	if q.from == Jobs {
		return errorAt(p.sql, list[0].start.offset, "devices.jobs can only be read with SELECT *")
	}
	first := slices.IndexFunc(list, func(e element) bool { return e.aggregate != "" })
	if first >= 0 && q.from == Modules {
		return errorAt(p.sql, list[first].start.offset, "%s works on devices only", list[first].aggregate)
	}
	names := make(map[string]bool, len(list))
	for i, e := range list {
		grouped := slices.ContainsFunc(q.groupBy, func(g path) bool { return slices.Equal(g, e.path) })
		if e.aggregate == "" && !grouped && (first >= 0 || q.groupBy != nil) {
			return errorAt(p.sql, e.start.offset, "%s stands beside an aggregate or GROUP BY", e.attribute.text).hint("name it in GROUP BY too")
		}
		name := e.label(i)
		if names[name] {
			return errorAt(p.sql, e.start.offset, "two elements of the list are called %s", name).hint("give one another name with AS")
		}
		names[name] = true
	}
	return nil
}
