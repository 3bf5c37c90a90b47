// Package parse reads the IoT Hub query language (iot-hub-devguide-query-language). Its mistakes name their place
// and, where that can be guessed, what would be right.
package parse

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twinfleet/twinfleet/internal/iothub/query/cursor"
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
	if p.Now.Word("SELECT") {
		return nil, p.Unexpected("a condition").WithHint("leave out SELECT … WHERE")
	}
	if q.Where, err = p.expr(0); err != nil {
		return nil, err
	}
	if p.Now.Kind != scan.End {
		return nil, p.Unexpected("an operator or the end of the condition")
	}
	q.Doubts = p.sortedDoubts()
	return q, nil
}

type parser struct {
	cursor.Cursor
	from   tree.Collection
	depth  int
	doubts []*scan.SyntaxError
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
	c, err := cursor.New(sql)
	return &parser{Cursor: c}, err
}

// element is an item as it was read. What may be selected depends on FROM, which comes later: the
// attributes are resolved afterwards.
type element struct {
	tree.Item
	start, attribute scan.Token
}

func (p *parser) query() (*tree.Query, error) {
	q := &tree.Query{Text: p.SQL}
	if err := p.ExpectWord("SELECT"); err != nil {
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
	q.Doubts = p.sortedDoubts()
	return q, nil
}

func (p *parser) top(q *tree.Query) error {
	ok, err := p.Accept("TOP")
	if !ok || err != nil {
		return err
	}
	n, err := strconv.Atoi(p.Now.Text)
	if p.Now.Kind != scan.Number || err != nil || n < 1 {
		return p.Unexpected("a whole number above 0 after TOP")
	}
	q.Top = n
	return p.Advance()
}

// selectList reads up to and with FROM; it returns nothing for *.
func (p *parser) selectList() ([]element, error) {
	if p.Sign("*") {
		if err := p.Advance(); err != nil {
			return nil, err
		}
		if p.Sign(",") || p.Now.Word("AS") {
			return nil, p.Unexpected("FROM").WithHint("* stands alone")
		}
		return nil, p.ExpectWord("FROM")
	}
	var list []element
	for {
		e, err := p.element()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if p.Now.Word("FROM") {
			return list, p.Advance()
		}
		if !p.Sign(",") {
			return nil, p.Unexpected("AS, a comma or FROM")
		}
		if err := p.Advance(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) element() (element, error) {
	const want = "*, an attribute or an aggregate"
	e := element{start: p.Now}
	name := strings.ToUpper(p.Now.Text)
	switch {
	case p.Sign("*"):
		return e, p.Unexpected("an attribute or an aggregate").WithHint("* stands alone")
	case p.Now.Kind != scan.Name || p.Now.Word("FROM"):
		return e, p.Unexpected(want)
	case p.FollowedBy("("):
		if !isAggregate(name) || p.Now.Escaped {
			return e, p.Fail("unknown aggregate %s", p.Now.Text).WithHint("there are COUNT(), AVG, SUM, MIN and MAX")
		}
		e.Aggregate = name
		if err := p.aggregated(&e); err != nil {
			return e, err
		}
	case cursor.WordHint(p.Now.Text) != "" && !p.Now.Escaped:
		return e, p.Unexpected(want)
	default:
		if err := p.named(&e.attribute); err != nil {
			return e, err
		}
	}
	if ok, err := p.Accept("AS"); err != nil || !ok {
		return e, err
	}
	if p.Now.Kind == scan.String {
		return e, p.Unexpected("a name after AS").WithHint("write it without quotes, or in [[ ]]")
	}
	if p.Now.Kind != scan.Name || len(p.Now.Path) != 1 {
		return e, p.Unexpected("a name after AS")
	}
	if !p.Now.Escaped && scan.Keyword(p.Now.Text) {
		return e, p.Unexpected("a name after AS").WithHint("write a keyword as AS [[%s]] where it is a name", p.Now.Text)
	}
	e.Name = p.Now.Path[0]
	return e, p.Advance()
}

// aggregated reads an aggregate from its name to its closing parenthesis.
func (p *parser) aggregated(e *element) error {
	if err := p.Advance(); err != nil {
		return err
	}
	if err := p.Advance(); err != nil {
		return err
	}
	if e.Aggregate != "COUNT" {
		if err := p.named(&e.attribute); err != nil {
			return err
		}
	} else if !p.Sign(")") {
		return p.Unexpected(`")"`).WithHint("COUNT() counts rows and takes nothing; choose the rows with WHERE IS_DEFINED(…)")
	}
	return p.ExpectSign(")")
}

// named reads the token of an attribute, to be resolved when the collection is known.
func (p *parser) named(into *scan.Token) error {
	if p.Now.Kind != scan.Name || (len(p.Now.Path) == 1 && !p.Now.Escaped && scan.Keyword(p.Now.Text)) {
		return p.Unexpected("an attribute such as tags.location.plant")
	}
	*into = p.Now
	return p.Advance()
}

func (p *parser) source(q *tree.Query) error {
	const want = "devices, devices.modules or devices.jobs"
	if p.Now.Kind != scan.Name {
		return p.Unexpected(want)
	}
	switch strings.ToLower(p.Now.Text) {
	case "devices":
		q.From = tree.Devices
	case "devices.modules":
		q.From = tree.Modules
	case "devices.jobs":
		q.From = tree.Jobs
	default:
		return p.Unexpected(want)
	}
	p.from = q.From
	if err := p.Advance(); err != nil {
		return err
	}
	if p.Now.Word("AS") || p.Now.Kind == scan.Name && !scan.Keyword(p.Now.Text) && cursor.WordHint(p.Now.Text) == "" || p.Sign(",") {
		return p.Unexpected("WHERE, GROUP BY or the end of the query").WithHint("a query reads one collection, which takes no other name")
	}
	return nil
}

// rest reads what follows the collection.
func (p *parser) rest(q *tree.Query, list bool) error {
	want := "WHERE, GROUP BY or the end of the query"
	if ok, err := p.Accept("WHERE"); err != nil {
		return err
	} else if ok {
		if q.Where, err = p.expr(0); err != nil {
			return err
		}
		want = "an operator, GROUP BY or the end of the query"
	}
	if p.Now.Word("GROUP") {
		switch {
		case q.From != tree.Devices:
			return p.Fail("GROUP BY works on devices only")
		case !list:
			return p.Fail("GROUP BY needs a list of attributes and aggregates after SELECT, not *")
		}
		if err := p.groupBy(q); err != nil {
			return err
		}
		want = "a comma or the end of the query"
	}
	if p.Now.Kind != scan.End {
		return p.Unexpected(want)
	}
	return nil
}

func (p *parser) groupBy(q *tree.Query) error {
	if err := p.Advance(); err != nil {
		return err
	}
	if err := p.ExpectWord("BY"); err != nil {
		return err
	}
	for {
		attribute, err := p.attribute()
		if err != nil {
			return err
		}
		q.GroupBy = append(q.GroupBy, attribute)
		if !p.Sign(",") {
			return nil
		}
		if err := p.Advance(); err != nil {
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
