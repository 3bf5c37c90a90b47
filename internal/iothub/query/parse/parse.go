// Package parse reads the IoT Hub query language (iot-hub-devguide-query-language). Its mistakes name their place
// and, where that can be guessed, what would be right.
package parse

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
)

// MaxLength is how many characters a query may have (iot-hub-devguide-query-language).
const MaxLength = 8192

// maxDepth bounds the parentheses, NOTs and functions around each other, so that no query exhausts
// the stack.
const maxDepth = 100

// Query reads a query of at most [MaxLength] characters. Its errors are *[scan.SyntaxError].
func Query(sql string) (*tree.Query, error) {
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

// Condition reads the condition of a job: what stands behind WHERE, such as deviceId IN ['a', 'b']. An
// empty one and * select all devices (iot-hub-devguide-jobs). The result is the query that selects the
// job's devices. Its errors are *[scan.SyntaxError], and count from the start of text.
func Condition(text string) (*tree.Query, error) {
	q := &tree.Query{Text: text}
	if all := strings.TrimSpace(text); all == "" || all == "*" {
		return q, nil
	}
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	if p.now.Word("SELECT") {
		return nil, p.unexpected("a condition").WithHint("leave out SELECT … WHERE")
	}
	if q.Where, err = p.expr(0); err != nil {
		return nil, err
	}
	if p.now.Kind != scan.End {
		return nil, p.unexpected("an operator or the end of the condition")
	}
	return q, nil
}

type parser struct {
	scan.Lexer
	now   scan.Token
	from  tree.Collection
	depth int
}

func newParser(sql string) (*parser, error) {
	for at, r := range sql {
		if _, n := utf8.DecodeRuneInString(sql[at:]); r == utf8.RuneError && n == 1 {
			return nil, scan.ErrorAt(sql, at, "the query is not valid UTF-8")
		}
	}
	if n := utf8.RuneCountInString(sql); n > MaxLength {
		end := 0
		for range MaxLength {
			_, size := utf8.DecodeRuneInString(sql[end:])
			end += size
		}
		return nil, scan.ErrorAt(sql, end, "the query has %d characters; at most %d are allowed", n, MaxLength)
	}
	p := &parser{Lexer: scan.Lexer{SQL: sql}}
	return p, p.advance()
}

func (p *parser) advance() (err error) {
	p.now, err = p.Next()
	return err
}

func (p *parser) fail(format string, a ...any) *scan.SyntaxError {
	return scan.ErrorAt(p.SQL, p.now.Offset, format, a...)
}

// unexpected is the error for a token that stands where something else should.
func (p *parser) unexpected(want string) *scan.SyntaxError {
	err := p.fail("expected %s, found %s", want, p.now.Describe())
	switch {
	case p.now.Kind == scan.Name && len(p.now.Path) == 1 && !p.now.Escaped:
		err.Hint = wordHint(p.now.Text)
	case p.sign("=="):
		err.Hint = "compare with a single ="
	case p.sign("["):
		err.Hint = "elements of arrays cannot be reached; a name with other characters is written as in tags.[[my-key]]"
	}
	return err
}

func (p *parser) sign(s string) bool { return p.now.Kind == scan.Sign && p.now.Text == s }

// accept moves past a keyword if it is the current token.
func (p *parser) accept(w string) (bool, error) {
	if !p.now.Word(w) {
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
// attributes are resolved afterwards.
type element struct {
	tree.Item
	start, attribute scan.Token
}

func (p *parser) query() (*tree.Query, error) {
	q := &tree.Query{Text: p.SQL}
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
		if list[i].attribute.Path == nil {
			continue
		}
		if list[i].Path, err = p.resolve(list[i].attribute); err != nil {
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
		q.Items = append(q.Items, e.Item)
	}
	return q, nil
}

func (p *parser) top(q *tree.Query) error {
	ok, err := p.accept("TOP")
	if !ok || err != nil {
		return err
	}
	n, err := strconv.Atoi(p.now.Text)
	if p.now.Kind != scan.Number || err != nil || n < 1 {
		return p.unexpected("a whole number above 0 after TOP")
	}
	q.Top = n
	return p.advance()
}

// selectList reads up to and with FROM; it returns nothing for *.
func (p *parser) selectList() ([]element, error) {
	if p.sign("*") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.sign(",") || p.now.Word("AS") {
			return nil, p.unexpected("FROM").WithHint("* stands alone")
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
		if p.now.Word("FROM") {
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
	name := strings.ToUpper(p.now.Text)
	switch {
	case p.sign("*"):
		return e, p.unexpected("an attribute or an aggregate").WithHint("* stands alone")
	case p.now.Kind != scan.Name || p.now.Word("FROM"):
		return e, p.unexpected(want)
	case p.followedBy("("):
		if !isAggregate(name) || p.now.Escaped {
			return e, p.fail("unknown aggregate %s", p.now.Text).WithHint("there are COUNT(), AVG, SUM, MIN and MAX")
		}
		e.Aggregate = name
		if err := p.aggregated(&e); err != nil {
			return e, err
		}
	case wordHint(p.now.Text) != "" && !p.now.Escaped:
		return e, p.unexpected(want)
	default:
		if err := p.named(&e.attribute); err != nil {
			return e, err
		}
	}
	if ok, err := p.accept("AS"); err != nil || !ok {
		return e, err
	}
	if p.now.Kind == scan.String {
		return e, p.unexpected("a name after AS").WithHint("write it without quotes, or in [[ ]]")
	}
	if p.now.Kind != scan.Name || len(p.now.Path) != 1 {
		return e, p.unexpected("a name after AS")
	}
	if !p.now.Escaped && scan.Keyword(p.now.Text) {
		return e, p.unexpected("a name after AS").WithHint("write a keyword as AS [[%s]] where it is a name", p.now.Text)
	}
	e.Name = p.now.Path[0]
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
	if e.Aggregate != "COUNT" {
		if err := p.named(&e.attribute); err != nil {
			return err
		}
	} else if !p.sign(")") {
		return p.unexpected(`")"`).WithHint("COUNT() counts rows and takes nothing; choose the rows with WHERE IS_DEFINED(…)")
	}
	return p.expectSign(")")
}

// named reads the token of an attribute, to be resolved when the collection is known.
func (p *parser) named(into *scan.Token) error {
	if p.now.Kind != scan.Name || (len(p.now.Path) == 1 && !p.now.Escaped && scan.Keyword(p.now.Text)) {
		return p.unexpected("an attribute such as tags.location.plant")
	}
	*into = p.now
	return p.advance()
}

// followedBy reports whether a sign comes after the current token.
func (p *parser) followedBy(sign string) bool {
	ahead := p.Lexer
	t, err := ahead.Next()
	return err == nil && t.Kind == scan.Sign && t.Text == sign
}

func (p *parser) source(q *tree.Query) error {
	const want = "devices, devices.modules or devices.jobs"
	if p.now.Kind != scan.Name {
		return p.unexpected(want)
	}
	switch strings.ToLower(p.now.Text) {
	case "devices":
		q.From = tree.Devices
	case "devices.modules":
		q.From = tree.Modules
	case "devices.jobs":
		q.From = tree.Jobs
	default:
		return p.unexpected(want)
	}
	p.from = q.From
	if err := p.advance(); err != nil {
		return err
	}
	if p.now.Word("AS") || p.now.Kind == scan.Name && !scan.Keyword(p.now.Text) && wordHint(p.now.Text) == "" || p.sign(",") {
		return p.unexpected("WHERE, GROUP BY or the end of the query").WithHint("a query reads one collection, which takes no other name")
	}
	return nil
}

// rest reads what follows the collection.
func (p *parser) rest(q *tree.Query, list bool) error {
	want := "WHERE, GROUP BY or the end of the query"
	if ok, err := p.accept("WHERE"); err != nil {
		return err
	} else if ok {
		if q.Where, err = p.expr(0); err != nil {
			return err
		}
		want = "an operator, GROUP BY or the end of the query"
	}
	if p.now.Word("GROUP") {
		switch {
		case q.From != tree.Devices:
			return p.fail("GROUP BY works on devices only")
		case !list:
			return p.fail("GROUP BY needs a list of attributes and aggregates after SELECT, not *")
		}
		if err := p.groupBy(q); err != nil {
			return err
		}
		want = "a comma or the end of the query"
	}
	if p.now.Kind != scan.End {
		return p.unexpected(want)
	}
	return nil
}

func (p *parser) groupBy(q *tree.Query) error {
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
		q.GroupBy = append(q.GroupBy, attribute)
		if !p.sign(",") {
			return nil
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

// check holds the rules that span the whole query.
func (p *parser) check(q *tree.Query, list []element) error {
	if len(list) == 0 {
		return nil
	}
	if q.From == tree.Jobs {
		return scan.ErrorAt(p.SQL, list[0].start.Offset, "devices.jobs can only be read with SELECT *")
	}
	first := slices.IndexFunc(list, func(e element) bool { return e.Aggregate != "" })
	if first >= 0 && q.From == tree.Modules {
		return scan.ErrorAt(p.SQL, list[first].start.Offset, "%s works on devices only", list[first].Aggregate)
	}
	names := make(map[string]bool, len(list))
	for i, e := range list {
		grouped := slices.ContainsFunc(q.GroupBy, func(g tree.Path) bool { return slices.Equal(g, e.Path) })
		if e.Aggregate == "" && !grouped && (first >= 0 || q.GroupBy != nil) {
			return scan.ErrorAt(p.SQL, e.start.Offset, "%s stands beside an aggregate or GROUP BY", e.attribute.Text).WithHint("name it in GROUP BY too")
		}
		name := e.Label(i)
		if names[name] {
			return scan.ErrorAt(p.SQL, e.start.Offset, "two elements of the list are called %s", name).WithHint("give one another name with AS")
		}
		names[name] = true
	}
	return nil
}
