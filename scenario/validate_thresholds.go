package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// judged is a threshold with the key that it stands under.
type judged struct {
	*threshold.Threshold
	path string
	at   problem.Place
}

// validateThresholds holds thresholds to what the run will measure: one that can have no data is missed only at the
// end, or met by a count of nothing.
func (r *reader) validateThresholds(s *Scenario) {
	if r.unread("fleet.groups", len(s.Fleet.Groups)) || r.unread("stages", len(s.Stages)) || s.Target.Kind == target.Unknown {
		return
	}
	crowded := s.series() > MostSeries
	for i := range s.Thresholds {
		t := judged{&s.Thresholds[i], r.thresholds[i].path, r.thresholds[i].at}
		if s.Group(metrics.GroupOf(t.Group)) != nil && crowded {
			r.FailAt(t.path, t.at, "there are %d groups and kinds of messages; metrics tell %d apart, and this may be none of them: write fewer groups, or no {…}", s.series(), MostSeries)
			continue
		}
		r.validateScope(s, t)
		if problem := s.unmeasured(t.Threshold); problem != "" {
			r.FailAt(t.path, t.at, "%s", problem)
		}
	}
}

// validateScope holds windows and delays to the time that they have.
func (r *reader) validateScope(s *Scenario, t judged) {
	length, of := s.length(), "the run"
	if t.Scope.Stage != "" {
		x := s.stage(t.Scope.Stage)
		if x == nil {
			return // was said
		}
		length, of = x.Duration, "stage "+x.Name
	}
	switch {
	case length == 0: // nobody knows before
	case t.Scope.Window > length:
		r.FailAt(t.path+".window", t.at, "%s is longer than %s, which lasts %s; no window fits into it", t.Scope.Window, of, length)
	case t.Scope.Window+t.Scope.For > length:
		r.FailAt(t.path+".for", t.at,
			"a window of %s that misses for %s does not fit into %s, which lasts %s; the threshold could not be missed", t.Scope.Window, t.Scope.For, of, length)
	case t.Scope.Delay >= length:
		r.FailAt(t.path+".delay_abort", t.at, "%s is over after %s, before the threshold could end the run", of, length)
	}
}

// length is how long the stages last together; 0 when one of them has no duration of its own.
func (s *Scenario) length() (sum time.Duration) {
	for i := range s.Stages {
		if s.Stages[i].Duration == 0 {
			return 0
		}
		sum += s.Stages[i].Duration
	}
	return sum
}

// stage finds a stage by name; nil when there is none.
func (s *Scenario) stage(name string) *Stage {
	for i := range s.Stages {
		if s.Stages[i].Name == name {
			return &s.Stages[i]
		}
	}
	return nil
}

// unmeasured says why a threshold can have no data, and what to do; empty when it can have some.
func (s *Scenario) unmeasured(t *threshold.Threshold) string {
	of, ok := s.measured(t.Operation)
	if !ok || t.Operation == metrics.OpFreshness && (!s.Target.Can().Twins || len(of.names) == 0) {
		return "" // of freshness it was said
	}
	if !s.Target.Can().Twins && t.Operation != threshold.OfDevices && !slices.Contains(ofBrokers(), t.Operation) {
		return fmt.Sprintf("a plain broker has no %s; there are %s", t.Operation, joined(ofBrokers()))
	}
	if len(of.names) == 0 {
		return "there is no " + string(t.Operation) + " to measure; " + of.remedy
	}
	if problem := s.unnamed(t, of); problem != "" {
		return problem
	}
	if problem := s.unstarted(t); problem != "" {
		return problem
	}
	if problem := s.tooLate(t, of); problem != "" && t.NeedsData() {
		return problem
	}
	if stage := s.stage(t.Scope.Stage); stage != nil && t.NeedsData() {
		if !slices.ContainsFunc(of.named(t.Group), func(name string) bool { return s.startsIn(t.Operation, name, stage) }) {
			return fmt.Sprintf("no %s starts in stage %s; judge another stage, or the whole run", t.Selector, stage.Name)
		}
	}
	if problem := s.empty(t); problem != "" {
		return problem
	}
	return s.unchecked(t)
}

// empty says that no device is there when a threshold on devices is judged: at the end of its scope.
func (s *Scenario) empty(t *threshold.Threshold) string {
	if t.Operation != threshold.OfDevices || !t.NeedsData() || t.Scope.Window > 0 || len(s.Stages) == 0 {
		return ""
	}
	last := len(s.Stages) - 1
	if i := slices.IndexFunc(s.Stages, func(x Stage) bool { return x.Name == t.Scope.Stage }); i >= 0 && t.Scope.Stage != "" {
		last = i
	}
	if s.left(last, t.Group) != 0 || aggregation(t) == "connected" { // that there is none is a number, too
		return ""
	}
	whose := ""
	if t.Group != "" {
		whose = " of " + t.Group
	}
	return fmt.Sprintf("no device%s is left when stage %s ends, where it is judged; "+
		"judge another stage with stage:, or every second with window: 1s", whose, s.Stages[last].Name)
}

// left is how many devices are active at the end of a stage, of all or of a group; below 0 when that is not known.
func (s *Scenario) left(stage int, group string) int {
	if active := s.Stages[stage].active; active != nil && group != "" {
		return active[slices.IndexFunc(s.Fleet.Groups, func(g Group) bool { return g.Name == group })]
	}
	for ; stage >= 0; stage-- {
		if n := s.Stages[stage].Devices; n == 0 || n > 0 && group == "" {
			return n
		} else if n > 0 {
			return anything
		}
	}
	return 0
}

// ofBrokers are the operations of plain brokers.
func ofBrokers() []metrics.Operation {
	return slices.DeleteFunc(metrics.Operations(), func(op metrics.Operation) bool { return !op.OnBrokers() })
}

func joined(ops []metrics.Operation) string {
	names := make([]string, len(ops))
	for i, op := range ops {
		names[i] = string(op)
	}
	return strings.Join(names, ", ")
}

// series is what an operation is measured as.
type series struct {
	names  []string // of groups, or of what the service side does; one empty name when there is only the whole
	remedy string   // when there are none
}

// named are the names that a selector with a name stands for.
func (x series) named(name string) []string {
	if name == "" {
		return x.names
	}
	return []string{name}
}

// measured is what the scenario measures of an operation; false when that is not known here.
func (s *Scenario) measured(op metrics.Operation) (series, bool) {
	switch op {
	case metrics.OpConnect, threshold.OfDevices:
		return series{s.groupsThat(func(*Group) bool { return true }), ""}, true
	case metrics.OpTwinGet:
		return series{s.groupsThat(func(g *Group) bool { return g.Over().Twins() }), "write another transport than https in a group"}, true
	case metrics.OpRenew:
		return series{s.groupsThat((*Group).Renews), "tokens are renewed on a connection over AMQP; write transport: amqp and tokens: {life: 1h} in a group"}, true
	case metrics.OpDPSRegister, metrics.OpDPSConnect, metrics.OpDPSPut, metrics.OpDPSGet:
		return series{s.groupsThat(func(g *Group) bool { return g.Identity.DPS != nil }), "write identity: {dps: {}} in a group"}, true
	case metrics.OpRecovery:
		return series{[]string{""}, ""}, true
	case metrics.OpSubscribe:
		listens := func(g *Group) bool { return s.Target.Can().Twins && g.Over().Twins() || g.Listens() || g.Requests() }
		return series{s.groupsThat(listens), `write subscribe: {topics: ["a/#"]} in a group`}, true
	case metrics.OpTwinReport:
		reports := func(g *Group) bool { return len(g.Report.Types) > 0 || g.Answer && s.mayBeTold(g) }
		return series{s.groupsThat(reports), "write reported: {connectivity: {type: cellular}, every: 10s} in a group"}, true
	case metrics.OpTelemetry:
		return series{s.kindsThat(s.sends), "write telemetry: {every: 10s} in a group, or telemetry_rate in a stage"}, true
	case metrics.OpDelivery:
		delivers := func(g *Group, k *Kind) bool { return k.Deliveries != 0 && s.sends(g, k) }
		return series{s.kindsThat(delivers), "write deliveries: 1 into the telemetry of a group that sends messages"}, true
	case metrics.OpRequest:
		asks := func(g *Group, k *Kind) bool { return k.Properties.ReplyTo != "" && s.sends(g, k) }
		return series{s.kindsThat(asks), "write mqtt5: {reply_to: \"replies/{device}\"} into the telemetry of a group that sends messages over MQTT 5"}, true
	case metrics.OpFreshness:
		return series{s.groupsThat(func(g *Group) bool { return len(g.Report.Types) > 0 }), ""}, true
	}
	return s.measuredService(op)
}

// measuredService is measured for what the service side does.
func (s *Scenario) measuredService(op metrics.Operation) (x series, ok bool) {
	v := &s.Service
	switch op {
	case metrics.OpProvision:
		x.remedy = "the devices of files, and those that provision, are not made"
		if len(s.groupsThat(func(g *Group) bool { return s.Creates(g) })) > 0 {
			x.names = []string{""}
		}
	case metrics.OpStatistics:
		x.names = []string{""}
	case metrics.OpTag:
		x.remedy = "write service: {tags: {robots: {location: {plant: Redmond43}}}}"
		x.names = s.groupsThat(func(g *Group) bool {
			return v.Tags[g.Name] != nil || s.step(func(p *Step) bool { return p.Tag != nil && p.Tag.Group == g.Name })
		})
	case metrics.OpQuery:
		x.remedy = "write service: {queries: [{name: all, sql: SELECT * FROM devices}]}"
		x.names = s.queryNames()
	case metrics.OpDesiredPatch:
		x.remedy = "write service: {rollouts: …}, or a step desired"
		x.names = s.groupsThat(s.setsDesired)
	case metrics.OpDesired:
		x.remedy = "write service: {rollouts: …}"
		x.names = s.groupsThat(s.rollsOut)
	case metrics.OpDesiredReply:
		x.remedy = "write service: {rollouts: …} for a group that answers desired properties"
		x.names = s.groupsThat(func(g *Group) bool { return g.Answer && s.rollsOut(g) })
	case metrics.OpMethod:
		x.remedy = "write service: {methods: …}"
		for i := range v.Methods {
			x.names = append(x.names, v.Methods[i].Name)
		}
	case metrics.OpTwinRead:
		x.remedy = "write service: {twin_reads: …}"
		for i := range v.TwinReads {
			x.names = append(x.names, v.TwinReads[i].Group)
		}
		if v.Freshness != nil && v.Freshness.Verify {
			x.names = append(x.names, verifyName)
		}
	case metrics.OpJob:
		x.remedy = "write service: {jobs: …}"
		for i := range v.Jobs {
			x.names = append(x.names, v.Jobs[i].Name)
		}
	default:
		return x, false
	}
	return x, true
}

// The names of series that the program chooses.
const (
	probeName  = "freshness-probe"  // queries of the freshness audit
	verifyName = "freshness-verify" // twins that it reads at the end
	stepName   = "step"             // queries that are steps
)

func (s *Scenario) queryNames() (names []string) {
	for i := range s.Service.Queries {
		names = append(names, s.Service.Queries[i].Name)
	}
	if f := s.Service.Freshness; f != nil && f.Probe > 0 {
		names = append(names, probeName)
	}
	if s.step(func(p *Step) bool { return p.Query != nil && p.Query.SQL != "" }) {
		names = append(names, stepName)
	}
	return names
}

// groupsThat are the names of the groups that do something.
func (s *Scenario) groupsThat(do func(*Group) bool) (names []string) {
	for i := range s.Fleet.Groups {
		if g := &s.Fleet.Groups[i]; do(g) {
			names = append(names, g.Name)
		}
	}
	return names
}

// step reports whether there is such a step in some stage.
func (s *Scenario) step(is func(*Step) bool) bool {
	return slices.ContainsFunc(s.Stages, func(t Stage) bool {
		return slices.ContainsFunc(t.Steps, func(p Step) bool { return is(&p) })
	})
}

// kindsThat are what metrics call the kinds of messages that are sent as something says. Groups with kinds that have names are among them, as what
// their kinds are together.
func (s *Scenario) kindsThat(do func(*Group, *Kind) bool) (names []string) {
	for i := range s.Fleet.Groups {
		g, whole := &s.Fleet.Groups[i], false
		for _, k := range g.Kinds() {
			if !do(g, &k) {
				continue
			}
			if !whole {
				names, whole = append(names, g.Name), true
			}
			if k.Name != "" {
				names = append(names, k.Series(g))
			}
		}
	}
	return names
}

// sends reports whether messages of a kind are sent: on their own schedule, or when a stage asks for a rate.
func (s *Scenario) sends(g *Group, k *Kind) bool {
	return slices.ContainsFunc(s.Stages, func(t Stage) bool { return s.sendsIn(g, k, &t) })
}

// sendsIn reports whether messages of a kind may be sent in a stage. Devices that all send in one instant do so first
// after a whole period.
func (s *Scenario) sendsIn(g *Group, k *Kind, t *Stage) bool {
	every, length := k.Every, s.length()
	onItsOwn := every > 0 && !t.Paused && !(k.Sync && k.Gaps.IsZero() && length > 0 && every >= length)
	return onItsOwn || k.Name == "" && t.TelemetryRate != nil && s.sendsTelemetry(g)
}

// sendsAnyIn reports whether messages of what metrics call so, a group or one kind of its messages, may be sent in a stage, of which an operation is
// measured.
func (s *Scenario) sendsAnyIn(op metrics.Operation, series string, t *Stage) bool {
	g := s.Group(metrics.GroupOf(series))
	for _, k := range g.Kinds() {
		if op == metrics.OpDelivery && k.Deliveries == 0 || op == metrics.OpRequest && k.Properties.ReplyTo == "" {
			continue
		}
		if metrics.InGroup(k.Series(g), series) && s.sendsIn(g, &k, t) {
			return true
		}
	}
	return false
}

func (s *Scenario) rollsOut(g *Group) bool {
	return slices.ContainsFunc(s.Service.Rollouts, func(x Rollout) bool { return x.Group == g.Name })
}

// setsDesired reports whether the service side writes desired properties of a group.
func (s *Scenario) setsDesired(g *Group) bool {
	return s.rollsOut(g) || s.step(func(p *Step) bool { return p.Desired != nil && p.Desired.Group == g.Name })
}

// mayBeTold reports whether desired properties may reach a group: those that the scenario writes, and on a hub
// elsewhere those of others.
func (s *Scenario) mayBeTold(g *Group) bool {
	return g.Over().Twins() && (s.Target.Can().Registry || s.setsDesired(g) || slices.ContainsFunc(s.Service.Jobs, func(x Job) bool { return x.Desired != nil }))
}

// unnamed says what is wrong with the name in a selector.
func (s *Scenario) unnamed(t *threshold.Threshold, of series) string {
	switch {
	case t.Group == "" || slices.Contains(of.names, t.Group):
		return ""
	case of.names[0] == "":
		return fmt.Sprintf("%s is measured as a whole; write %[1]s: without {…}", t.Operation)
	case s.Group(t.Group) != nil:
		return fmt.Sprintf("there is no %s of %s to measure; there is of %s", t.Operation, t.Group, strings.Join(of.names, ", "))
	default:
		return fmt.Sprintf("there is no %q to measure; %s", t.Group, problem.DidYouMean(t.Group, of.names))
	}
}

// unstarted says why the devices that a threshold is about never start.
func (s *Scenario) unstarted(t *threshold.Threshold) string {
	switch t.Operation {
	case metrics.OpFreshness, threshold.OfDevices, metrics.OpRecovery:
	default:
		if !t.Operation.OfDevices() {
			return ""
		}
	}
	most, own, listeners := 0, 0, 0
	for i := range s.Stages {
		here := s.Stages[i].MostDevices(0)
		most, own = max(most, here), max(own, s.left(i, metrics.GroupOf(t.Group)))
		if s.Stages[i].Course != nil {
			own = max(own, min(here, 1)) // whoever comes may be of the group
		}
	}
	for i := range s.Fleet.Groups {
		if g := &s.Fleet.Groups[i]; g.Listens() {
			listeners += g.Count
		}
	}
	g := s.Group(metrics.GroupOf(t.Group))
	listens := g != nil && g.Listens() || g == nil && (t.Operation == metrics.OpConnect || t.Operation == metrics.OpSubscribe)
	switch {
	case most == 0:
		return "no stage starts devices; write devices: 100% in the first"
	case g != nil && own == 0 && s.Stages[0].active != nil:
		return fmt.Sprintf("no stage starts devices of %s; write devices: {%[1]s: 100%%}", g.Name)
	case t.Operation == metrics.OpDelivery && s.Target.Can().Topics && s.Stages[0].active != nil && !s.listens():
		return "no stage starts devices that subscribe, so that nothing is delivered"
	case s.Stages[0].active != nil:
	case !s.Target.Can().Twins && !listens && most <= listeners && (g != nil || listeners < s.Devices()):
		return fmt.Sprintf("the stages start %d devices, and those are the %d that subscribe, which come first; start more", most, listeners)
	}
	return ""
}

// tooLate says why nothing that a threshold is about begins before the end of the run.
func (s *Scenario) tooLate(t *threshold.Threshold, of series) (problem string) {
	for _, name := range of.named(t.Group) {
		if problem = s.begins(t.Operation, name); problem == "" {
			return ""
		}
	}
	return problem
}

// begins says why something of the service side does not begin before the end of the run; empty when it may.
func (s *Scenario) begins(op metrics.Operation, name string) string {
	v := &s.Service
	switch op {
	case metrics.OpQuery:
		i := slices.IndexFunc(v.Queries, func(q Query) bool { return q.Name == name })
		if i < 0 || s.step(func(p *Step) bool { return p.Query != nil && p.Query.Name == name }) {
			return ""
		}
		// Queries begin spread, so that they do not beat in step.
		first, length := v.Queries[i].Every*time.Duration(i+1)/time.Duration(len(v.Queries)+1), s.length()
		if length > 0 && first >= length {
			return fmt.Sprintf("the query %s is due first after %s, and the run lasts %s; write a shorter every", name, first, length)
		}
	case metrics.OpJob:
		i := slices.IndexFunc(v.Jobs, func(x Job) bool { return x.Name == name })
		if i >= 0 && s.overBefore(v.Jobs[i].Stage, v.Jobs[i].At) {
			return fmt.Sprintf("the run is over before the job %s begins; write an earlier at", name)
		}
	case metrics.OpDesired, metrics.OpDesiredReply:
		if !slices.ContainsFunc(v.Rollouts, func(x Rollout) bool { return x.Group == name && !s.overBefore(x.Stage, x.At) }) {
			return fmt.Sprintf("the run is over before a rollout to %s begins; write an earlier at", name)
		}
	}
	return ""
}

// overBefore reports whether the run is over before a time after the start of a stage, the first when it has no name.
func (s *Scenario) overBefore(stage string, after time.Duration) bool {
	from := max(0, slices.Index(s.stageNames(), stage))
	var left time.Duration
	for i := from; i < len(s.Stages); i++ {
		if s.Stages[i].Duration == 0 {
			return false // it lasts as long as it takes
		}
		left += s.Stages[i].Duration
	}
	return after >= left
}

// aggregation is the first word of a threshold.
func aggregation(t *threshold.Threshold) string {
	text := strings.TrimSpace(t.Expr)
	if i := strings.IndexFunc(text, func(c rune) bool { return c != '_' && (c < 'a' || c > 'z') }); i >= 0 {
		return text[:i]
	}
	return text
}

// listens reports whether a stage that tells groups apart starts devices that subscribe.
func (s *Scenario) listens() bool {
	for i := range s.Stages {
		for k, n := range s.Stages[i].active {
			if (n > 0 || s.Stages[i].MostDevices(0) > 0 && s.Stages[i].Course != nil) && s.Fleet.Groups[k].Listens() {
				return true
			}
		}
	}
	return false
}

// startsIn reports whether something that has stages of its own may start in a stage.
func (s *Scenario) startsIn(op metrics.Operation, series string, t *Stage) bool {
	name := series
	during := func(stages []string) bool { return len(stages) == 0 || slices.Contains(stages, t.Name) }
	v := &s.Service
	if op.OfDevices() {
		name = metrics.GroupOf(series)
	}
	if s.Group(name) != nil && op.OfDevices() && t.active != nil {
		n := slices.IndexFunc(s.Stages, func(x Stage) bool { return x.Name == t.Name })
		if t.Course == nil && s.left(n, name) == 0 && (n == 0 || s.left(n-1, name) == 0) {
			return false
		}
	}
	switch op {
	case metrics.OpTelemetry, metrics.OpDelivery, metrics.OpRequest:
		return s.sendsAnyIn(op, series, t)
	case metrics.OpQuery:
		q := s.Query(name)
		return q == nil || during(q.Stages) || slices.ContainsFunc(t.Steps, func(p Step) bool { return p.Query != nil && p.Query.Name == name })
	case metrics.OpMethod:
		return slices.ContainsFunc(v.Methods, func(x MethodCalls) bool { return x.Name == name && during(x.Stages) })
	case metrics.OpTwinRead:
		return name == verifyName || slices.ContainsFunc(v.TwinReads, func(x TwinReads) bool { return x.Group == name && during(x.Stages) })
	}
	return true
}

// unchecked says why nothing is known of the content of the results that a threshold is about.
func (s *Scenario) unchecked(t *threshold.Threshold) string {
	switch aggregation(t) {
	case "expected_rate":
		for i := range s.Service.Queries {
			if q := &s.Service.Queries[i]; q.Expect != nil && (t.Group == "" || t.Group == q.Name) {
				return ""
			}
		}
		return "no query says how many items it expects; write expect: 3000 in it"
	case "correct_rate":
		if s.Service.Freshness == nil {
			return "results are compared with the devices only when freshness is measured; write service: {freshness: {}}"
		}
	}
	return ""
}
