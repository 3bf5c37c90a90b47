package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/worker/verify"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

func (b *Backend) verify(ctx context.Context, f *fleet.Fleet) error {
	all, lost := b.expectations(f)
	ctx, cancel := context.WithTimeout(ctx, verifyGrace+time.Duration(len(all))*verifyEach)
	defer cancel()
	told := 0
	verifier := &verify.Verifier{Service: querier{b.Target.Service}, Twins: b.Target.Service, Recorder: b.Recorder}
	verifier.Progress = func(done, total int) {
		if done == 0 || done == total || (done-told)*20 < total {
			return
		}
		told = done
		b.Ledger.Tell(report.Event{Kind: report.KindVerified, OK: true, Text: "twins verified", Done: done, Total: total})
	}
	v := verifier.Verify(ctx, all)
	v.Missing += lost
	row := &report.Verified{Devices: v.Devices, Held: v.Held, Lost: v.Lost, Unread: v.Unread, Reports: v.Reports, Missing: v.Missing}
	b.Ledger.Write(func(r *report.Run) { r.Freshness.Verified = row })
	ok := v.Lost == 0 && v.Unread == 0
	b.Ledger.Tell(report.Event{Kind: report.KindVerified, OK: ok && v.Missing == 0, Text: "acknowledged reports", Detail: row.String()})
	if ok {
		return nil // what is missing nevertheless is a contradiction, which has its own words
	}
	return fmt.Errorf("the twins of %s do not hold what was acknowledged, %d could not be read: %w", human.Number(v.Lost, "device"), v.Unread, v.Err)
}

// expectations are what the twins of all devices with an acknowledged report must be like, and how many
// acknowledged reports are known to be lost. The twins of the audit's sample are read themselves.
func (b *Backend) expectations(f *fleet.Fleet) (all []verify.Expectation, lost int64) {
	sampled := make(map[string]bool)
	for _, id := range b.audit.IDs() {
		sampled[id] = true
	}
	for i := range f.Len() {
		a := f.Account(i)
		lost += a.Lost
		if a.Accepted == 0 || a.Low == 0 {
			continue
		}
		id := b.Identities.IDs[i]
		all = append(all, verify.Expectation{
			Device: id, Reports: a.Accepted, Low: a.Low, High: a.High,
			Connectivity: a.Last.Connectivity, Until: a.Until, Others: a.Open, Direct: sampled[id],
		})
	}
	return all, lost
}

// wrongRows holds the results of queries against what the audit found in them: a row that is further behind
// than the tolerance fails the run, unless a threshold on correct_rate says how many may be.
func (b *Backend) wrongRows() error {
	var errs []error
	for _, q := range b.Recorder.Snapshot().Queries {
		n := q.Rows.Missing + q.Rows.Extra + q.Rows.Stale
		if n == 0 || b.judgesRows(q.Query) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s of %s rows of query %s are wrong: %s missing, %s extra, %s stale; service.freshness.tolerance says how far "+
			"behind a result may be, a threshold on correct_rate how many rows may be wrong",
			human.Count(n), human.Count(q.Rows.Judged()), q.Query, human.Count(q.Rows.Missing), human.Count(q.Rows.Extra), human.Count(q.Rows.Stale)))
	}
	return errors.Join(errs...)
}

// judgesRows reports whether a threshold says how many rows of a query may be wrong.
func (b *Backend) judgesRows(query string) bool {
	for i := range b.Scenario.Thresholds {
		t := &b.Scenario.Thresholds[i]
		if t.JudgesRows() && t.Operation == metrics.OpQuery && (t.Group == "" || t.Group == query) {
			return true
		}
	}
	return false
}

// findPhantoms searches for devices that queries have shown and that do not exist.
func (b *Backend) findPhantoms(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, verifyGrace)
	defer cancel()
	for _, p := range b.audit.Phantoms(ctx, querier{b.Target.Service}, b.Target.Service) {
		b.Contradicted("a query shows a device that does not exist", fmt.Sprintf("query %s shows %s", p.Query, p.ID))
	}
}
