// Package side is what the parts of the service side of a run work on.
package side

import (
	"context"
	"encoding/json"

	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/ledger"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/gate"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Side is the service side of one run. All of its fields are required, but for Before.
type Side struct {
	Scenario   *scenario.Scenario // what is wanted of the service side
	Target     *target.Target     // one without a service side has a Backend that does nothing
	Identities *target.Identities // the devices it works on
	Recorder   *metrics.Recorder  // counts every operation
	Ledger     *ledger.Ledger     // the record of the run
	Gate       *gate.Gate         // which stage runs
	// Late says that what devices did is told late: results are judged when Backend.Known says that all is known.
	Late bool
	// Before is how many processes led the run before this one, of which the Recorder knows what they did when Backend.Run begins; 0 for a run that
	// this one began.
	Before int
	// Contradicted is told of what the target said and what cannot be true: its kind and an example.
	Contradicted func(kind, example string)
	// Fail ends the run with an error.
	Fail func(error)
}

// AddErrors puts the errors of one of the worker's tasks into the record.
func (s *Side) AddErrors(task string, codes *failure.Codes) {
	s.Ledger.Write(func(r *report.Run) {
		for _, c := range codes.List() {
			r.ServiceErrors = append(r.ServiceErrors, report.ServiceError{Task: task, Code: c.Code, Count: c.Count})
		}
	})
}

// Querier begins queries with a client of the service side.
func Querier(c target.Service) queries.Service { return querier{c} }

type querier struct{ target.Service }

func (q querier) Query(sql string, pageSize int) queries.Pager {
	return pager{q.Service.Query(sql, pageSize)}
}

type pager struct{ service.Pages }

func (p pager) Next(ctx context.Context) ([]json.RawMessage, error) {
	page, err := p.Pages.Next(ctx)
	return page.Items, err
}
