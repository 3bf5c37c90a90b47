package scenario

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

// Query is a query on a schedule.
type Query struct {
	Name     string           // in metrics and thresholds
	SQL      string           // in the IoT Hub query language
	Every    time.Duration    // 0 when it has a Cron
	Cron     *cron.Expression // nil when it has Every
	Expect   *Expectation     // nil expects nothing
	PageSize int              // items a page, 1 to 1000
	Timeout  time.Duration    // of the whole result
	Stages   []string         // empty for the whole run
	place    problem.Place
}

// Expectation is a comparison with the number of items in a result.
type Expectation struct {
	Op    string // =, !=, <, <=, > or >=
	Count int    // items, 0 or more
}

// Met reports whether a number is as expected.
func (x Expectation) Met(n int) bool {
	switch x.Op {
	case "!=":
		return n != x.Count
	case "<":
		return n < x.Count
	case "<=":
		return n <= x.Count
	case ">":
		return n > x.Count
	case ">=":
		return n >= x.Count
	default:
		return n == x.Count
	}
}

// String is the expectation as a person would write it.
func (x Expectation) String() string {
	if x.Op == "=" {
		return fmt.Sprint(x.Count)
	}
	return fmt.Sprintf("%s %d", x.Op, x.Count)
}

func (r *reader) queryKeys(q *Query) []language.Key {
	return []language.Key{
		key("name", value.Name(&q.Name).Required(), none, "The query's name, in metrics and thresholds."),
		key("sql", value.Text(&q.SQL).Required(), none, "The query, in the IoT Hub query language."),
		key("every", timing.Duration(&q.Every, timing.Shortest), means("10s"), "How often it starts; or cron."),
		key("cron", timing.Cron(&q.Cron), means("none"),
			"When it starts by the clock: */5 * * * *; with six fields the first is the second. In UTC, or by another clock: "+
				"CRON_TZ=Europe/Berlin 30 2 * * *, which follows cron(8) where that is put forward or back. Day of month and weekday "+
				"must both fit."),
		key("expect", r.readExpectation(&q.Expect), means("any"),
			"Items that the result should have: 3000, 100% of all devices, or >= 2990, with =, !=, <, <=, > or >=. A result with "+
				"another number is counted, and can be a threshold: expected_rate > 99%."),
		key("page_size", value.Count(&q.PageSize, 1, 1000), is("100"), "Items a page."),
		key("timeout", timing.Duration(&q.Timeout, timing.Shortest), is("1m"), "For the whole result."),
		stagesKey(&q.Stages),
	}
}

// readExpectation reads a number, or a comparison with one.
func (in *reader) readExpectation(into **Expectation) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a number such as 3000, or a comparison such as >= 2990", "!!str", "!!int")
		if !ok {
			return
		}
		x := Expectation{Op: "="}
		rest := strings.TrimSpace(s)
		for _, op := range []string{"!=", "<=", ">=", "==", "=", "<", ">"} {
			if after, found := strings.CutPrefix(rest, op); found {
				x.Op, rest = op, strings.TrimSpace(after)
				break
			}
		}
		if x.Op == "==" {
			x.Op = "="
		}
		of, ok := ofFleet(r, path, n, rest)
		if !ok || of >= 0 {
			in.numbers = append(in.numbers, number{into: &x.Count, share: of})
			*into = &x
			return
		}
		var err error
		if x.Count, err = strconv.Atoi(strings.ReplaceAll(rest, "_", "")); err != nil || x.Count < 0 {
			r.Fail(path, n, "%q is no expectation; write a number such as 3000, or a comparison such as >= 2990", s)
			return
		}
		*into = &x
	}}
}
