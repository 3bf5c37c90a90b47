package configuration

import (
	"errors"
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Target is which twins a configuration is for.
type Target struct {
	kind  Kind
	query *query.Query // nil matches nothing
}

// Target reads the target condition by the rules of the configuration's content. Without one nothing is targeted, *
// stands for all; one for modules begins with FROM devices.modules. It may ask for the deviceId, the moduleId of
// modules, tags and reported properties alone. The error says what is wrong.
func (c *Configuration) Target() (Target, error) {
	t := Target{}
	switch {
	case len(c.Content.Module) > 0:
		t.kind = ForModules
	case len(c.Content.Modules) > 0:
		t.kind = ForEdge
	}
	var err error
	t.query, err = parseTarget(c.TargetCondition, t.kind)
	return t, err
}

func parseTarget(text string, kind Kind) (*query.Query, error) {
	switch strings.TrimSpace(text) {
	case "":
		return nil, nil
	case "*":
		if kind != ForModules {
			return query.Condition("")
		}
	}
	var q *query.Query
	var err error
	if kind == ForModules {
		if q, err = query.Parse("SELECT * " + text); err == nil && (q.From != tree.Modules || q.Top != 0 || q.Aggregates()) {
			return nil, errors.New("a condition for modules must begin with FROM devices.modules")
		}
	} else {
		q, err = query.Condition(text)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range q.Paths() {
		reported := p[0] == "properties" && len(p) > 1 && p[1] == "reported"
		id := p[0] == "deviceId" || p[0] == "moduleId" && kind == ForModules
		if p[0] != "tags" && !reported && !id {
			return nil, fmt.Errorf("it may ask for the id, tags and reported properties only, not for %s", strings.Join(p, "."))
		}
	}
	return q, nil
}

// Matches reports whether a configuration is for a twin.
func (t Target) Matches(tw *twin.Twin) bool {
	if t.query == nil || (t.kind == ForModules) != (tw.ModuleID != "") || t.kind == ForEdge && !tw.IoTEdge {
		return false
	}
	return t.query.Matches(tw)
}

// ParseMetric reads the query of a custom metric, which selects the twins that it counts.
func ParseMetric(text string) (*query.Query, error) {
	q, err := query.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case q.From == tree.Jobs:
		return nil, errors.New("a metric counts devices or modules, not jobs")
	case q.Aggregates():
		return nil, errors.New("a metric counts the twins that its query selects: it must select them, not COUNT() them")
	}
	return q, nil
}

// Test is the body of POST /configurations/testQueries.
type Test struct {
	TargetCondition     string            `json:"targetCondition"`     // as of a configuration; * is not taken
	CustomMetricQueries map[string]string `json:"customMetricQueries"` // by name
}

// TestResult says what is wrong with the queries of a Test; nothing where they are sound.
type TestResult struct {
	TargetConditionError    string            `json:"targetConditionError"`
	CustomMetricQueryErrors map[string]string `json:"customMetricQueryErrors"`
}

// Run tests the queries.
func (t Test) Run() TestResult {
	out := TestResult{CustomMetricQueryErrors: map[string]string{}}
	kind := ForDevices
	if words := strings.Fields(t.TargetCondition); len(words) > 0 && strings.EqualFold(words[0], "FROM") {
		kind = ForModules
	}
	if strings.TrimSpace(t.TargetCondition) == "*" {
		out.TargetConditionError = "* is no query" // the service's, recorded: a configuration may have it
	} else if _, err := parseTarget(t.TargetCondition, kind); err != nil {
		out.TargetConditionError = err.Error()
	}
	for name, text := range t.CustomMetricQueries {
		if _, err := ParseMetric(text); err != nil {
			out.CustomMetricQueryErrors[name] = err.Error()
		}
	}
	return out
}
