// Package scenario is the language of scenarios: what a file says about target, fleet, stages, the
// service side and the thresholds. Load decodes one strictly: every mistake is reported at once, each
// with its place and what would be right, and nothing starts before all of it is valid.
package scenario

import (
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// Scenario is a valid scenario. It is not changed after Load.
type Scenario struct {
	Name        string                // in reports and metrics; the file's name when the file gives none
	Description string                // a line for people; may be empty
	Seed        uint64                // every random choice follows from it
	Target      target.Target         // what is loaded
	Fleet       Fleet                 // who loads it
	Stages      []Stage               // one after the other; at least one
	Service     Service               // the service side, beside the stages
	Thresholds  []threshold.Threshold // conditions of the verdict, in the order of the file; empty for none
	Generator   Generator             // what follows from the generator's own health
	// Warnings is what the file says that is no mistake and yet worth a look, in its order.
	Warnings problem.List
	// Scaled is what another size, that was asked for, makes of the file: a line each.
	Scaled []string
	// Fitted is what the machine that runs it made of what the file leaves open: a line each; see package fit.
	Fitted []string
	// Source is the scenario as it runs, in YAML: with overrides and of that size, with ${NAME} as written, without secrets.
	Source []byte
}

// Devices is how many devices the whole fleet has.
func (s *Scenario) Devices() int {
	n := 0
	for _, g := range s.Fleet.Groups {
		n += g.Count
	}
	return n
}

// scenarioKeys is the whole language: one row a key.
func (r *reader) scenarioKeys(s *Scenario) []language.Key {
	return []language.Key{
		key("name", value.Name(&s.Name), means("the file's name"), "What reports and metrics call the run."),
		key("description", value.Text(&s.Description), none, "What the scenario shows, in a line."),
		key("seed", value.Seed(&s.Seed), is("1"), "Every random choice follows from it: two runs with one seed send the same."),
		key("target", value.Object(targetKeys(&s.Target)), means("the embedded hub"), "What the fleet and the service side are pointed at."),
		key("fleet", value.Object(fleetKeys(&s.Fleet)).Required(), none, "The devices."),
		key("stages", value.List(&s.Stages, freshStage, r.stageKeys, func(t *Stage, p problem.Place) { t.place = p }).Required(), none,
			"What happens when, one stage after the other."),
		key("service", value.Object(r.serviceKeys(&s.Service)), means("none"),
			"The service side: tags, queries, rollouts, methods, twin reads, jobs, and the freshness audit."),
		key("thresholds", r.readThresholds(s), means("none"),
			"Conditions that the run must meet, by operation: a list such as [\"p(95) < 250ms\", \"error_rate < 0.1%\"], or of "+
				"objects with more to say. A key is an operation, or one series of it: twin_report{group=robots}, query{name=redmond}; "+
				"devices; or recovery, the time from the loss of connections until 99 % of the devices are back."),
		key("generator", value.Object(generatorKeys(&s.Generator)), means("judged"), "What the run makes of the generator's own health."),
	}
}
