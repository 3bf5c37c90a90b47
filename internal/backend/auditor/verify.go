package auditor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/worker/verify"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

func (a *Auditor) verify(ctx context.Context, f Devices) error {
	all, lost := a.expectations(f)
	ctx, cancel := context.WithTimeout(ctx, verifyGrace+time.Duration(len(all))*verifyEach)
	defer cancel()
	told := 0
	verifier := &verify.Verifier{Service: side.Querier(a.side.Target.Service), Twins: a.side.Target.Service, Recorder: a.side.Recorder}
	verifier.Progress = func(done, total int) {
		if done == 0 || done == total || (done-told)*20 < total {
			return
		}
		told = done
		a.side.Ledger.Tell(report.Event{Kind: report.KindVerified, OK: true, Text: "twins verified", Done: done, Total: total})
	}
	v := verifier.Verify(ctx, all)
	v.Missing += lost
	row := &report.Verified{Devices: v.Devices, Held: v.Held, Lost: v.Lost, Unread: v.Unread, Reports: v.Reports, Missing: v.Missing}
	a.side.Ledger.Write(func(r *report.Run) { r.Freshness.Verified = row })
	ok := v.Lost == 0 && v.Unread == 0
	a.side.Ledger.Tell(report.Event{Kind: report.KindVerified, OK: ok && v.Missing == 0, Text: "acknowledged reports", Detail: row.String()})
	if ok {
		return nil // what is missing nevertheless is a contradiction, which has its own words
	}
	return fmt.Errorf("the twins of %s do not hold what was acknowledged, %d could not be read: %w", human.Number(v.Lost, "device"), v.Unread, v.Err)
}

// expectations are what the twins of all devices with an acknowledged report must be like, and how many
// acknowledged reports are known to be lost. The twins of the audit's sample are read themselves.
func (a *Auditor) expectations(f Devices) (all []verify.Expectation, lost int64) {
	sampled := make(map[string]bool)
	for _, id := range a.IDs() {
		sampled[id] = true
	}
	for i := range f.Len() {
		x := f.Account(i)
		lost += x.Lost
		if x.Accepted == 0 || x.Low == 0 {
			continue
		}
		id := a.side.Identities.IDs[i]
		all = append(all, verify.Expectation{
			Device: id, Reports: x.Accepted, Low: x.Low, High: x.High,
			Connectivity: x.Last.Connectivity, Until: x.Until, Others: x.Open, Direct: sampled[id],
		})
	}
	return all, lost
}

// wrongRows holds the results of queries against what the audit found in them: a row that is further behind
// than the tolerance fails the run, unless a threshold on correct_rate says how many may be.
func (a *Auditor) wrongRows() error {
	var errs []error
	for _, q := range a.side.Recorder.Snapshot().Queries {
		n := q.Rows.Missing + q.Rows.Extra + q.Rows.Stale
		if n == 0 || a.judgesRows(q.Query) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s of %s rows of query %s are wrong: %s missing, %s extra, %s stale; service.freshness.tolerance says how far "+
			"behind a result may be, a threshold on correct_rate how many rows may be wrong",
			human.Count(n), human.Count(q.Rows.Judged()), q.Query, human.Count(q.Rows.Missing), human.Count(q.Rows.Extra), human.Count(q.Rows.Stale)))
	}
	return errors.Join(errs...)
}

// judgesRows reports whether a threshold says how many rows of a query may be wrong.
func (a *Auditor) judgesRows(query string) bool {
	for i := range a.side.Scenario.Thresholds {
		t := &a.side.Scenario.Thresholds[i]
		if t.JudgesRows() && t.Operation == metrics.OpQuery && (t.Group == "" || t.Group == query) {
			return true
		}
	}
	return false
}

// findPhantoms searches for devices that queries have shown and that do not exist.
func (a *Auditor) findPhantoms(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, verifyGrace)
	defer cancel()
	for _, p := range a.Phantoms(ctx, side.Querier(a.side.Target.Service), a.side.Target.Service) {
		a.side.Contradicted("a query shows a device that does not exist", fmt.Sprintf("query %s shows %s", p.Query, p.ID))
	}
}
