package scenario

import (
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

func (r *reader) checkSQL(path, sql string, t *target.Target, at problem.Place) {
	q, err := parse.Query(sql)
	r.judge(path, "query", q, err, t, at)
	r.severalSQL(path, q, t, at)
}

// judge tells of what is wrong with a query, and of attributes that nothing has. Another hub than the embedded one
// judges by itself, and may know more of its language than is documented: there it is a warning.
func (r *reader) judge(path, what string, q *tree.Query, err error, t *target.Target, at problem.Place) {
	tell := r.FailAt
	if !t.Can().InProcess {
		tell = r.WarnAt
	}
	if err != nil {
		tell(path, at, "the %s is wrong at %v", what, err)
		return
	}
	for _, doubt := range q.Doubts {
		tell(path, at, "the %s is wrong at %v", what, doubt)
	}
}

// checkSection holds a patch of tags or desired properties to what a twin may hold: names, depth, sizes.
func (r *reader) checkSection(path string, section limits.SectionKind, doc json.RawMessage, at problem.Place) {
	if doc == nil {
		return
	}
	v, err := jsonparse.Parse(doc)
	if err == nil {
		err = limits.Check(section, v)
	}
	if err == nil {
		err = limits.CheckSize(section, limits.SizeOf(v))
	}
	if err != nil {
		r.FailAt(path, at, "no twin takes this: %v", err)
	}
}

// checkNames holds what devices report to what a twin may hold, by one example of it.
func (r *reader) checkNames(path string, t *payload.Template, at problem.Place) {
	example := t.Append(nil, &payload.Context{Now: time.Unix(0, 0), Rand: rand.New(rand.NewPCG(1, 1))})
	r.checkSection(path, limits.Reported, example, at)
}
