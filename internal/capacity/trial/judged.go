package trial

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario"
)

// noteLeftOut says what of the scenario no trial does.
func (b *Base) noteLeftOut() {
	var stages, parts []string
	most := 0
	for i := range b.Scenario.Stages {
		t := &b.Scenario.Stages[i]
		here := t.MostDevices(0)
		comes := here > most
		most = max(most, here)
		if t.Name != b.steady.Name && !comes {
			stages = append(stages, t.Name)
		}
		if t.Name != b.steady.Name {
			continue
		}
		if t.Storm != nil {
			parts = append(parts, "its storm")
		}
		if len(t.Steps) > 0 {
			parts = append(parts, "its steps")
		}
		if h := t.Hub; h != nil && h.Refuse+h.Stall+h.Restart > 0 {
			parts = append(parts, "what its hub refuses, stalls or restarts")
		}
	}
	if len(parts) > 0 {
		b.note("of stage %s trials leave out %s", b.steady.Name, strings.Join(parts, ", "))
	}
	if len(stages) > 0 {
		b.note("trials are about stage %s; stages that they leave out: %s", b.steady.Name, strings.Join(stages, ", "))
	}
	switch s := &b.Scenario.Service; {
	case b.Vary == ConnectRate && len(s.Tags)+len(s.Queries)+len(s.Methods)+len(s.TwinReads)+len(s.Rollouts)+len(s.Jobs) > 0:
		b.note("trials leave out the service side: they are about connecting")
	case len(s.Rollouts)+len(s.Jobs) > 0:
		b.note("trials leave out rollouts and jobs")
	}
}

// scope finds for each threshold the stage of a trial that it is about: hold; the arrival of the devices, for what happens only then;
// or none. It adds what nobody would call held.
func (b *Base) scope() error {
	b.judged = make(map[string][]rule)
	n := 0
	for i := range b.Scenario.Thresholds {
		t := &b.Scenario.Thresholds[i]
		if of := t.Scope.Stage; of != "" && of != b.steady.Name && !b.brings(of) {
			b.note("the threshold %s of stage %s is left out: trials have no such stage", t, of)
			continue
		}
		if why := b.unfit(t); why != "" {
			b.note("the threshold %s is left out: %s", t, why)
			continue
		}
		placed := false
		for _, stage := range []string{Hold, stageConnect} {
			if t.Scope.Stage != "" && (t.Scope.Stage == b.steady.Name) != (stage == Hold) || stage == Hold && !b.due(t.Operation) {
				continue
			}
			r := rule{t.Expr, stage, short(t.Scope.Window), short(t.Scope.For)}
			if b.fits(t.Selector, r) {
				b.judged[t.Selector] = append(b.judged[t.Selector], r)
				placed = true
				n++
				break
			}
		}
		if !placed {
			b.note("the threshold %s is left out: nothing of it is due while the load is held", t)
		}
	}
	if n == 0 {
		return fmt.Errorf("%w: none of the scenario's %d is about what trials do; judge %s in the whole run", ErrNoThresholds, len(b.Scenario.Thresholds), exampleOf(b.Vary, b.Scenario))
	}
	b.imply()
	return nil
}

// due reports whether devices do something of a kind while a load is held. That they might, were their connections lost, is not enough.
func (b *Base) due(op metrics.Operation) bool {
	comeBack := slices.ContainsFunc(b.Scenario.Fleet.Groups, func(g scenario.Group) bool { return !g.Online.IsZero() || g.Reconnects() })
	if op.OfDPS() {
		return b.Vary == ConnectRate // who comes back knows its hub
	}
	switch op {
	case metrics.OpConnect, metrics.OpSubscribe, metrics.OpTwinGet:
		return b.Vary == ConnectRate || comeBack
	case metrics.OpTwinReport:
		return b.Vary == ConnectRate || b.Vary == ReportRate || b.reports > 0 || comeBack
	case metrics.OpTelemetry:
		return b.Vary == TelemetryRate || b.sends > 0
	}
	return true // the language knows
}

// unfit says why a threshold means nothing in a trial, whatever the load; "" when it does.
func (b *Base) unfit(t *threshold.Threshold) string {
	switch {
	case t.Operation == metrics.OpRecovery:
		return "nothing is lost in trials; --rollout has storms"
	case t.WantsMore() && !t.MetByNone():
		return "what it asks for follows the load"
	case b.Vary == Devices && strings.HasPrefix(t.Expr, "expected_rate") && b.expectsNumbers():
		return "a query expects a number of devices; write a share, such as 100%"
	}
	return ""
}

// expectsNumbers reports whether a query expects a number of items and not a share of the devices.
func (b *Base) expectsNumbers() bool {
	service, _ := b.source["service"].(map[string]any)
	queries, _ := service["queries"].([]any)
	return slices.ContainsFunc(queries, func(q any) bool {
		keys, _ := q.(map[string]any)
		return keys["expect"] != nil && !strings.Contains(fmt.Sprint(keys["expect"]), "%")
	})
}

// brings reports whether a stage brings devices up.
func (b *Base) brings(name string) bool {
	active := 0
	for i := range b.Scenario.Stages {
		t := &b.Scenario.Stages[i]
		if t.Name == name {
			return t.MostDevices(0) > active
		}
		active = max(active, t.MostDevices(0))
	}
	return false
}

// fits reports whether a threshold can be judged in a stage of a trial.
func (b *Base) fits(selector string, r rule) bool {
	x := *b
	x.judged = map[string][]rule{selector: {r}}
	_, err := x.make(b.probe(), 0)
	return err == nil
}

// imply adds what a load that is held may not do, where the scenario says nothing of it: be throttled, be dropped, fail.
func (b *Base) imply() {
	var added []string
	for _, op := range b.loaded() {
		said := func(kinds ...string) bool {
			for selector, rules := range b.judged {
				if name, _, _ := strings.Cut(selector, "{"); name != string(op) {
					continue
				}
				for _, r := range rules {
					for _, kind := range kinds {
						if r.Stage == Hold && strings.HasPrefix(strings.TrimSpace(r.Threshold), kind) {
							return true
						}
					}
				}
			}
			return false
		}
		for _, x := range []struct {
			expr  string
			kinds []string
		}{
			{"throttled_rate < 0.1%", []string{"throttled"}},
			{"dropped_rate < 0.1%", []string{"dropped"}},
			{"success_rate > 99%", []string{"success", "error"}},
		} {
			r := rule{Threshold: x.expr, Stage: Hold}
			if !said(x.kinds...) && b.fits(string(op), r) {
				b.judged[string(op)] = append(b.judged[string(op)], r)
				added = append(added, string(op)+": "+x.expr)
			}
		}
	}
	if len(added) > 0 {
		b.note("beside the scenario's thresholds a load is held only with %s", strings.Join(added, ", "))
	}
}

// loaded are the operations that grow with what is varied.
func (b *Base) loaded() []metrics.Operation {
	if op := b.Vary.Operation(); op != "" {
		return []metrics.Operation{op}
	}
	var all []metrics.Operation
	if b.reports > 0 {
		all = append(all, metrics.OpTwinReport)
	}
	if b.sends > 0 {
		all = append(all, metrics.OpTelemetry)
	}
	return all
}
