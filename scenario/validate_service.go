package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// finishService fills in what the service side leaves open.
func (r *reader) finishService(s *Scenario) {
	for i := range s.Service.Queries {
		if q := &s.Service.Queries[i]; q.Every == 0 && q.Cron == nil {
			q.Every = 10 * time.Second
		}
	}
	for i := range s.Service.Rollouts {
		switch x := &s.Service.Rollouts[i]; {
		case x.By == ByConfiguration:
			x.Rate = nil // the service writes as fast as it will
			if len(x.Shares) == 0 {
				x.Shares = []int{50, 95, 100}
			}
		case len(x.Waves) == 0:
			x.Waves = []Wave{{Percent: 100}}
		}
	}
	for _, t := range s.Thresholds {
		if t.Operation == metrics.OpFreshness && s.Service.Freshness == nil {
			f := freshFreshness()
			r.Defaults("service.freshness", freshnessKeys(&f))
			s.Service.Freshness = &f
		}
	}
	if f := s.Service.Freshness; f != nil && f.Probe == unsetProbe {
		f.Probe = defaultProbe
		if s.Target.Limited() {
			f.Probe = limitedProbe
		}
	}
	if f := s.Service.Freshness; f != nil && f.Tolerance == unsetTolerance {
		f.Tolerance = s.Target.Lag()
	}
}

// uniqueName holds the name of an item of a list to be there and to differ from those before it.
func (r *reader) uniqueName(path, what, name string, at problem.Place, seen map[string]bool) {
	switch {
	case name == "":
		r.FailAt(path, at, "the %s has no name", what)
	case seen[name]:
		r.FailAt(path+".name", at, "a second %s named %s; names must differ", what, name)
	}
	seen[name] = true
}

func (r *reader) validateService(s *Scenario) {
	x := &s.Service
	if !s.Target.Can().Service {
		if len(x.Queries)+len(x.Tags)+len(x.Rollouts)+len(x.Methods)+len(x.TwinReads)+len(x.Jobs) > 0 {
			r.FailAt("service", problem.Place{}, "a plain broker has no twins to tag or query; remove service")
		}
		if x.Freshness != nil {
			r.FailAt(r.freshnessPath(), problem.Place{}, "a plain broker has no twins, so nothing can be fresh; remove freshness")
		}
		return
	}
	for group, doc := range x.Tags {
		r.checkSection(language.Join("service.tags", group), limits.Tags, doc, problem.Place{})
	}
	names := make(map[string]bool)
	for i := range x.Queries {
		r.validateQuery(fmt.Sprintf("service.queries[%d]", i), &x.Queries[i], s, names)
	}
	names = make(map[string]bool)
	for i := range x.Rollouts {
		r.validateRollout(fmt.Sprintf("service.rollouts[%d]", i), &x.Rollouts[i], s, names)
	}
	names = make(map[string]bool)
	for i := range x.Methods {
		m := &x.Methods[i]
		path := fmt.Sprintf("service.methods[%d]", i)
		r.uniqueName(path, "method", m.Name, m.place, names)
		if m.Method == "" {
			r.FailAt(path, m.place, "which method is called is missing; write method: reboot")
		}
		r.validateTimeout(path+".timeout", m.Timeout, m.place)
		r.validateRated(path, m.Group, m.Rate, m.Stages, s, m.place)
	}
	for i := range x.TwinReads {
		t := &x.TwinReads[i]
		r.validateRated(fmt.Sprintf("service.twin_reads[%d]", i), t.Group, t.Rate, t.Stages, s, t.place)
	}
	names = make(map[string]bool)
	for i := range x.Jobs {
		r.validateJob(fmt.Sprintf("service.jobs[%d]", i), &x.Jobs[i], s, names)
	}
	r.validateFreshness(s)
}

// validateTimeout holds the time that a device may take to answer a direct method to what IoT Hub takes.
func (r *reader) validateTimeout(path string, timeout time.Duration, at problem.Place) {
	if timeout < methods.MinResponse || timeout > methods.MaxResponse {
		r.FailAt(path, at, "IoT Hub takes 5s to 5m")
	}
}

func (r *reader) validateQuery(path string, q *Query, s *Scenario, names map[string]bool) {
	r.uniqueName(path, "query", q.Name, q.place, names)
	if q.Name == probeName {
		r.FailAt(path+".name", q.place, "%s is the freshness audit's own; choose another name", probeName)
	}
	if q.Every > 0 && q.Cron != nil {
		r.FailAt(path, q.place, "every and cron are both given; keep one of them")
	}
	r.validateStageNames(path, q.Stages, s, q.place)
	if q.SQL == "" {
		r.FailAt(path, q.place, "the query has no sql")
		return
	}
	r.checkSQL(path+".sql", q.SQL, &s.Target, q.place)
}

func (r *reader) validateRollout(path string, x *Rollout, s *Scenario, names map[string]bool) {
	r.uniqueName(path, "rollout", x.Name, x.place, names)
	r.validateTargetGroup(path, x.Group, x.place)
	if x.Properties == nil {
		r.FailAt(path, x.place, "properties are missing")
	}
	r.checkSection(path+".properties", limits.Desired, x.Properties, x.place)
	if x.Rate != nil && (x.Rate.From != x.Rate.To || x.Rate.To == 0) {
		r.FailAt(path+".rate", x.place, "a rollout has one rate above 0, such as 100/s")
	}
	before := 0
	for i, w := range x.Waves {
		if w.Percent <= before {
			r.FailAt(fmt.Sprintf("%s.waves[%d]", path, i), x.place, "percent is %d after %d; shares grow from wave to wave", w.Percent, before)
		}
		before = w.Percent
	}
	r.validateStart(path, x.Stage, s, x.place)
	r.validateConfiguration(path, x, s)
}

// validateConfiguration checks what rollouts by a configuration have of their own, and that no other has it.
func (r *reader) validateConfiguration(path string, x *Rollout, s *Scenario) {
	if x.By != ByConfiguration {
		if x.Condition != "" || x.Shares != nil {
			r.FailAt(path, x.place, "condition and shares are of a rollout by: configuration")
		}
		return
	}
	if len(x.Waves) > 0 {
		r.FailAt(path+".waves", x.place, "the service writes all twins that the condition targets at once; remove waves, or write by: twins")
	}
	if x.Condition == "" {
		r.FailAt(path, x.place, "condition is missing; write which twins the configuration targets, such as tags.plant = 'r43'")
	}
	doc := configuration.Configuration{TargetCondition: x.Condition}
	if _, err := doc.Target(); err != nil && x.Condition != "" {
		r.FailAt(path+".condition", x.place, "%v", err)
	}
	if x.Properties != nil {
		if _, err := configuration.OfProperties(x.Properties).Parse(); err != nil {
			r.FailAt(path+".properties", x.place, "%s", iothub.AsError(err).Message)
		}
	}
	for i := 1; i < len(x.Shares); i++ {
		if x.Shares[i] <= x.Shares[i-1] {
			r.FailAt(path+".shares", x.place, "%d%% comes after %d%%; shares grow", x.Shares[i], x.Shares[i-1])
		}
	}
}

// validateTargetGroup holds a group of the service side to be there.
func (r *reader) validateTargetGroup(path, group string, at problem.Place) {
	if group == "" {
		r.FailAt(path, at, "group is missing; name one of fleet.groups")
		return
	}
	r.groupNames = append(r.groupNames, reference{path + ".group", group, at})
}

// validateRated holds what starts at a rate.
func (r *reader) validateRated(path, group string, rate *Range, stages []string, s *Scenario, at problem.Place) {
	r.validateTargetGroup(path, group, at)
	r.validateStageNames(path, stages, s, at)
	if rate == nil {
		r.FailAt(path, at, "rate is missing; write rate: 5/s")
		return
	}
	if rate.From == rate.To {
		return
	}
	for i := range s.Stages {
		t := &s.Stages[i]
		if t.Duration == 0 && (len(stages) == 0 || slices.Contains(stages, t.Name)) {
			r.FailAt(path+".rate", at, "a rate that changes needs stages with a duration; %s has none", t.Name)
			return
		}
	}
}

func (s *Scenario) stageNames() []string {
	var names []string
	for _, t := range s.Stages {
		names = append(names, t.Name)
	}
	return names
}

func (r *reader) validateStageNames(path string, stages []string, s *Scenario, at problem.Place) {
	for i, name := range stages {
		if r.unread("stages", len(s.Stages)) {
			return
		}
		if all := s.stageNames(); !slices.Contains(all, name) {
			r.FailAt(fmt.Sprintf("%s.stages[%d]", path, i), at, "there is no stage %q; %s", name, problem.DidYouMean(name, all))
		}
	}
}

func (r *reader) validateStart(path, stage string, s *Scenario, at problem.Place) {
	if all := s.stageNames(); stage != "" && !slices.Contains(all, stage) && !r.unread("stages", len(s.Stages)) {
		r.FailAt(path+".stage", at, "there is no stage %q; %s", stage, problem.DidYouMean(stage, all))
	}
}

func (r *reader) validateJob(path string, x *Job, s *Scenario, names map[string]bool) {
	r.uniqueName(path, "job", x.Name, x.place, names)
	r.validateStart(path, x.Stage, s, x.place)
	switch {
	case x.Type == "":
		r.FailAt(path, x.place, "type is missing; write type: twin or type: method")
	case x.Type == "twin" && x.Tags == nil && x.Desired == nil:
		r.FailAt(path, x.place, "a twin job writes tags, desired or both; both are missing")
	case x.Type == "twin" && x.Method != nil:
		r.FailAt(path+".method", x.place, "a twin job calls no method; write type: method")
	case x.Type == "method" && (x.Tags != nil || x.Desired != nil):
		r.FailAt(path, x.place, "a method job writes neither tags nor desired; write type: twin")
	case x.Type == "method" && (x.Method == nil || x.Method.Name == ""):
		r.FailAt(path, x.place, "which method the job calls is missing; write method: {name: reboot}")
	}
	r.checkSection(path+".tags", limits.Tags, x.Tags, x.place)
	r.checkSection(path+".desired", limits.Desired, x.Desired, x.place)
	if x.Method != nil {
		r.validateTimeout(path+".method.timeout", x.Method.Timeout, x.place)
	}
	if x.Query != "" && x.Query != "*" {
		q, err := parse.Condition(x.Query)
		r.judge(path+".query", "condition", q, err, &s.Target, x.place)
	}
}

// freshnessPath is the key that asks for freshness: its own, or a threshold's.
func (r *reader) freshnessPath() string {
	if r.Given("service.freshness") {
		return "service.freshness"
	}
	return "thresholds.freshness"
}

func (r *reader) validateFreshness(s *Scenario) {
	f := s.Service.Freshness
	if f == nil {
		return
	}
	const path = "service.freshness"
	reporting := false
	for i := range s.Fleet.Groups {
		reporting = reporting || len(s.Fleet.Groups[i].Report.Types) > 0
	}
	if !reporting && !r.Overlaps("fleet") {
		r.FailAt(r.freshnessPath(), problem.Place{}, "no group reports, so nothing can be fresh; write reported: {connectivity: {type: cellular}} in a group")
	}
	if f.Query == "" {
		return
	}
	if f.Probe == 0 {
		r.FailAt(path+".query", problem.Place{}, "the query is never asked, for probe is 0s")
	}
	r.checkSQL(path+".query", f.Query, &s.Target, problem.Place{})
	text := strings.ToLower(f.Query)
	whole := strings.HasPrefix(strings.Join(strings.Fields(text), " "), "select * ")
	if !whole && (!strings.Contains(text, "deviceid") || !strings.Contains(text, "properties.reported.$version")) {
		r.FailAt(path+".query", problem.Place{}, "the query must select *, or deviceId and properties.reported.$version")
	}
}
