package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/twin/limits"
	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// finish fills in what follows from other values. It comes before validation, which changes nothing.
func (r *reader) finish(s *Scenario) {
	r.finishTarget(&s.Target)
	r.finishTrust(&s.Target)
	for i := range s.Fleet.Groups {
		path := fmt.Sprintf("fleet.groups[%d]", i)
		r.finishIdentity(path, &s.Fleet.Groups[i], &s.Target)
		r.finishDPS(path, &s.Fleet.Groups[i], &s.Target)
		r.finishTokens(path+".tokens", &s.Fleet.Groups[i].Tokens)
		for _, k := range s.Fleet.Groups[i].Kinds() {
			r.finishContent(path+"."+k.path, &k.Content)
		}
	}
	r.finishSizes(s)
	for i := range s.Fleet.Groups {
		r.checkCertificates(fmt.Sprintf("fleet.groups[%d]", i), &s.Fleet.Groups[i], &s.Target)
	}
	r.finishPace(s)
	r.finishService(s)
}

// finishTokens fills in what tokens that are renewed do not say. A margin of 0s is one that was said.
func (r *reader) finishTokens(path string, t *Tokens) {
	if !t.Present {
		return
	}
	if t.Life == 0 {
		t.Life = time.Hour
	}
	if !r.Given(path + ".margin") {
		t.Margin = min(15*time.Minute, t.Life/4)
	}
}

// validate holds the rules that span keys.
func (r *reader) validate(s *Scenario) {
	s.Target.Validate(r)
	r.validateFleet(s)
	r.validateMessages(s)
	r.validateStages(s)
	r.validateService(s)
	r.validateListening(s)
	r.validateReferences(s)
	r.validateThresholds(s)
	r.validateAudience(s)
}

func (r *reader) validateFleet(s *Scenario) {
	if len(s.Fleet.Groups) == 0 {
		r.FailAt("fleet.groups", problem.Place{}, "there is no group of devices; write fleet: {groups: [{name: robots, count: 10}]}")
	}
	r.validateSources(s)
	r.validateHubs(s)
	r.validateVersion(s)
	r.validateConsumerGroup(s)
	names, first := make(map[string]bool), 0
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		path := fmt.Sprintf("fleet.groups[%d]", i)
		at := first
		first += g.Count
		switch {
		case g.Name == "":
			r.FailAt(path, g.place, "the group has no name")
			continue
		case names[g.Name]:
			r.FailAt(path+".name", g.place, "a second group named %s; names must differ", g.Name)
		}
		names[g.Name] = true
		r.validateGroup(path, g, s.Target.Can())
		r.validateIdentity(path, g, s, at)
		r.validateLogins(path, g, &s.Target)
		r.validateTransport(path, g, &s.Target)
	}
	r.validateIDs(s)
	r.validateClientIDs(s)
	r.validateTargetLogin(s)
}

func (r *reader) validateGroup(path string, g *Group, can target.Capabilities) {
	r.validateDeviceIDs(path, g)
	if len(g.Report.Types) == 0 && (g.Report.Every > 0 || g.Report.Properties != nil) {
		r.FailAt(path+".reported", g.place, "what devices report begins with connectivity; write reported: {connectivity: {type: cellular}}")
	}
	r.validatePace(path+".reported.every", g, g.Report.Every)
	r.validatePace(path+".telemetry.every", g, g.Telemetry.Every)
	if g.Online.IsZero() != g.Offline.IsZero() {
		r.FailAt(path+".session", g.place, "a session needs both online and offline")
	}
	if t := g.Tokens; t.Life > 0 && t.Margin+t.Spread >= t.Life {
		r.FailAt(path+".tokens", g.place, "margin and spread together (%s) leave nothing of a life of %s", t.Margin+t.Spread, t.Life)
	}
	if !can.Topics && g.Telemetry.QoS == 2 {
		r.FailAt(path+".telemetry.qos", g.place, "IoT Hub takes QoS 0 and 1 only")
	}
	if can.Twins && g.Report.Properties != nil {
		r.checkNames(path+".reported.properties", g.Report.Properties, g.place)
	}
	if !can.Twins && len(g.Report.Types) > 0 {
		r.FailAt(path+".reported", g.place, "a plain broker has no twins; remove reported, and send telemetry")
	}
}

// DeviceID is the id of a group's i-th device, counted from 0.
func (g *Group) DeviceID(i int) string {
	if i >= 0 && i < len(g.Identity.Devices) {
		return g.Identity.Devices[i].DeviceID
	}
	return strings.NewReplacer("{group}", g.Name, "{index}", g.Index(i)).Replace(g.ID)
}

// Index is the number of the group's i-th device, counted from 0, as {index} is replaced by it: it begins at FirstIndex.
func (g *Group) Index(i int) string { return topic.Index(g.FirstIndex+i, g.indexWidth()) }

// indexWidth is how many digits an index has at the least.
func (g *Group) indexWidth() int { return cmp.Or(g.IndexWidth, topic.IndexWidth) }

func (r *reader) validateStages(s *Scenario) {
	if len(s.Stages) == 0 {
		r.FailAt("stages", problem.Place{}, "there is no stage; write stages: [{name: ramp, duration: 30s, devices: 100%%}]")
	}
	devices, names, before := 0, make(map[string]int), []int(nil)
	for i := range s.Stages {
		t := &s.Stages[i]
		path := fmt.Sprintf("stages[%d]", i)
		r.validateShape(path, t, devices)
		r.validateCurves(path, t, s)
		r.validateNetwork(path, t)
		r.validateStorm(path+".storm", t, s, before)
		before = t.active
		r.validateRates(path, t, s)
		if t.Devices >= 0 {
			devices = t.Devices
		}
		switch first, twice := names[t.Name]; {
		case t.Name == "":
			r.FailAt(path, t.place, "the stage has no name")
		case twice:
			r.FailAt(path+".name", t.place, "a second stage named %s, as stages[%d] is; names must differ, for thresholds and queries go by them", t.Name, first)
		default:
			names[t.Name] = i
		}
		r.validateGoals(path, t, s)
		if t.Duration == 0 && len(t.Steps) == 0 && t.Devices < 0 && t.goals == nil && t.Course == nil {
			r.FailAt(path, t.place, "the stage does nothing; give it a duration, devices or steps")
		}
		if t.Duration == 0 && (t.ReportRate != nil || t.TelemetryRate != nil) {
			r.FailAt(path+".duration", t.place, "a rate needs a duration")
		}
		if t.Hub != nil && !s.Target.Can().Faults {
			r.FailAt(path+".hub", t.place, "only the embedded hub has a fault switch")
		}
		if t.Hub != nil && t.Hub.Service != nil && t.Hub.Service.Time == 0 {
			r.FailAt(path+".hub.service", t.place, "a model of service needs the time that an operation takes; write {servers: 2, time: 20ms}")
		}
		if t.Hub != nil && t.Hub.DPS != nil && !s.Provisions() {
			r.FailAt(path+".hub.dps", t.place, "no group provisions; write identity: {dps: {}} in a group")
		}
		if t.Arrivals == "poisson" && t.ReportRate == nil && t.TelemetryRate == nil {
			r.FailAt(path+".arrivals", t.place, "only operations of report_rate and telemetry_rate arrive so; give one of them")
		}
		if t.ReportRate != nil && !s.Target.Can().Twins {
			r.FailAt(path+".report_rate", t.place, "a plain broker has no twins; use telemetry_rate")
		}
		for j := range t.Steps {
			r.validateStep(fmt.Sprintf("%s.steps[%d]", path, j), &t.Steps[j], s, t.place)
		}
	}
}

func (r *reader) validateStep(path string, x *Step, s *Scenario, at problem.Place) {
	n := 0
	for _, set := range []bool{x.Statistics != nil, x.Tag != nil, x.Query != nil, x.Desired != nil, x.Await != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		r.FailAt(path, at, "a step is exactly one of statistics, tag, query, desired, await; found %d", n)
		return
	}
	if !s.Target.Can().Service && x.Await == nil {
		r.FailAt(path, at, "a plain broker has no service side; only await works")
	}
	switch {
	case x.Tag != nil:
		r.groupNames = append(r.groupNames, reference{path + ".tag.group", x.Tag.Group, at})
		if x.Tag.Tags == nil {
			r.FailAt(path+".tag", at, "tags are missing")
		}
		r.checkSection(path+".tag.tags", limits.Tags, x.Tag.Tags, at)
	case x.Desired != nil:
		r.groupNames = append(r.groupNames, reference{path + ".desired.group", x.Desired.Group, at})
		if x.Desired.Properties == nil {
			r.FailAt(path+".desired", at, "properties are missing")
		}
		r.checkSection(path+".desired.properties", limits.Desired, x.Desired.Properties, at)
	case x.Query != nil:
		r.validateQueryStep(path+".query", x.Query, s, at)
	case x.Await != nil:
		if x.Await.Connected > s.Devices() || x.Await.Reported > s.Devices() {
			r.FailAt(path+".await", at, "waits for more devices than the groups have (%d); write 100%% for all of them", s.Devices())
		}
	}
}

func (r *reader) validateQueryStep(path string, q *QueryStep, s *Scenario, at problem.Place) {
	switch {
	case (q.Name == "") == (q.SQL == ""):
		r.FailAt(path, at, "give either the name of one of service.queries, or sql")
	case q.SQL != "":
		r.checkSQL(path+".sql", q.SQL, &s.Target, at)
	case s.Query(q.Name) == nil:
		var names []string
		for _, x := range s.Service.Queries {
			names = append(names, x.Name)
		}
		r.FailAt(path+".name", at, "there is no query %q in service.queries; %s", q.Name, problem.DidYouMean(q.Name, names))
	}
}

// Query finds a scheduled query by name; nil when there is none.
func (s *Scenario) Query(name string) *Query {
	for i := range s.Service.Queries {
		if s.Service.Queries[i].Name == name {
			return &s.Service.Queries[i]
		}
	}
	return nil
}

// Group finds a group by name; nil when there is none.
func (s *Scenario) Group(name string) *Group {
	for i := range s.Fleet.Groups {
		if s.Fleet.Groups[i].Name == name {
			return &s.Fleet.Groups[i]
		}
	}
	return nil
}

// unread reports whether the name of some item of a list is not known, so that others may be meant for it.
func (r *reader) unread(list string, n int) bool {
	for i := range n {
		if r.Overlaps(fmt.Sprintf("%s[%d].name", list, i)) {
			return true
		}
	}
	return r.Overlaps(list) && n == 0
}

// validateReferences holds names of groups and queries to those that there are.
func (r *reader) validateReferences(s *Scenario) {
	var groups []string
	for _, g := range s.Fleet.Groups {
		groups = append(groups, g.Name)
	}
	unread := r.unread("fleet.groups", len(s.Fleet.Groups))
	for _, ref := range r.groupNames {
		if s.Group(ref.name) == nil && !unread {
			r.FailAt(ref.path, ref.at, "there is no group %q; %s", ref.name, problem.DidYouMean(ref.name, groups))
		}
	}
	var stages []string
	for i := range s.Stages {
		stages = append(stages, s.Stages[i].Name)
	}
	unreadStages := r.unread("stages", len(s.Stages))
	for _, ref := range r.stageNames {
		if !unreadStages && !slices.Contains(stages, ref.name) {
			r.FailAt(ref.path, ref.at, "there is no stage %q; %s", ref.name, problem.DidYouMean(ref.name, stages))
		}
	}
}
