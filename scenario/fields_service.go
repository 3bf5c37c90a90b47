package scenario

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/schedule"
)

func serviceFields(s *Service) []field {
	return []field{
		{"tags", formMap, "none", "Tags that the worker sets on the devices of a group, before its first query: {robots: {location: {plant: Redmond43}}}. They are the same for the whole group.", readTags(s), nil},
		{"tag_mode", formText, "patch", "patch sends one PATCH a twin, bulk sends 100 twins a call.", oneOf(&s.TagMode, "patch", "bulk"), nil},
		{"tag_concurrency", formCount, "8", "Calls under way at once.", count(&s.TagConcurrency, 1, 1000), nil},
		{"queries", formList, "none", "Twin queries on a schedule.", list(&s.Queries, func() Query { return Query{PageSize: 100, Timeout: time.Minute} }, queryFields, func(q *Query, p place) { q.place = p }), queryFields(new(Query))},
		{"rollouts", formList, "none", "Desired properties that reach a group in waves.", list(&s.Rollouts, freshRollout, rolloutFields, func(x *Rollout, p place) { x.place = p }), rolloutFields(new(Rollout))},
		{"methods", formList, "none", "Direct methods that are called at a rate.", list(&s.Methods, func() MethodCalls { return MethodCalls{Timeout: 30 * time.Second} }, methodFields, func(x *MethodCalls, p place) { x.place = p }), methodFields(new(MethodCalls))},
		{"twin_reads", formList, "none", "Twins that the service side reads at a rate. A read is given up after a minute.", list(&s.TwinReads, func() TwinReads { return TwinReads{} }, twinReadFields, func(x *TwinReads, p place) { x.place = p }), twinReadFields(new(TwinReads))},
		{"jobs", formList, "none", "Scheduled jobs, followed until their end.", list(&s.Jobs, func() Job { return Job{MaxTime: 10 * time.Minute} }, jobFields, func(x *Job, p place) { x.place = p }), jobFields(new(Job))},
		{"freshness", formObject, "none; on with its defaults when a threshold asks for freshness", "How fresh query results are, and whether they are right: for a sample of the devices.", optional(&s.Freshness, freshFreshness, freshnessFields), freshnessFields(new(Freshness))},
	}
}

func stagesField(into *[]string) field {
	return field{"stages", formTexts, "the whole run", "Only during these stages.", texts(into), nil}
}

func queryFields(q *Query) []field {
	return []field{
		{"name", formName, "", "The query's name, in metrics and thresholds.", name(&q.Name), nil},
		{"sql", formText, "", "The query, in the IoT Hub query language.", text(&q.SQL), nil},
		{"every", formTime, "10s", "How often it starts; or cron.", duration(&q.Every, moment), nil},
		{"cron", formText, "none", "When it starts by the clock: */5 * * * *; with six fields the first is the second. In UTC, or by another clock: CRON_TZ=Europe/Berlin 30 2 * * *, which follows cron(8) where that is put forward or back. Day of month and weekday must both fit.", readCron(&q.Cron), nil},
		{"expect", formText, "any", "Items that the result should have: 3000, 100% of all devices, or >= 2990, with =, !=, <, <=, > or >=. A result with another number is counted, and can be a threshold: expected_rate > 99%.", readExpectation(&q.Expect), nil},
		{"page_size", formCount, "100", "Items a page.", count(&q.PageSize, 1, 1000), nil},
		{"timeout", formTime, "1m", "For the whole result.", duration(&q.Timeout, moment), nil},
		stagesField(&q.Stages),
	}
}

func freshRollout() Rollout {
	return Rollout{Rate: &Range{100, 100}, Timeout: 30 * time.Second, StopOver: 1}
}

func rolloutFields(x *Rollout) []field {
	wave := func(w *Wave) []field {
		return []field{
			{"percent", formCount, "", "Share of the group that has the properties once the wave is over, in percent; it grows from wave to wave.", count(&w.Percent, 1, 100), nil},
			{"for", formTime, "0s", "How long the wave is watched, from its start, before the next begins.", duration(&w.For, 0), nil},
		}
	}
	return []field{
		{"name", formName, "", "The rollout's name, in the record.", name(&x.Name), nil},
		{"group", formName, "", "Whose devices.", name(&x.Group), nil},
		{"properties", formAny, "", "The desired properties.", document(&x.Properties), nil},
		{"at", formTime, "0s", "When it begins, after the start of the first stage, or of stage.", duration(&x.At, 0), nil},
		{"stage", formName, "the first", "The stage that at counts from.", name(&x.Stage), nil},
		{"waves", formList, "one of 100 percent", "Which share of the group when. Which devices are in a wave follows from the seed.", list(&x.Waves, func() Wave { return Wave{} }, wave, nil), wave(new(Wave))},
		{"rate", formRate, "100/s", "Twins patched a second.", rate(&x.Rate), nil},
		{"timeout", formTime, "30s", "How long a device may take to be told, and to answer, from the write, which itself is given up after a minute.", duration(&x.Timeout, moment), nil},
		{"stop_over", formShare, "100%", "Stop when more than this share of a wave's devices has not answered, or been told if they do not answer, by the end of the wave.", share(&x.StopOver), nil},
	}
}

func methodFields(x *MethodCalls) []field {
	return []field{
		{"name", formName, "", "The name of the calls, in metrics and thresholds.", name(&x.Name), nil},
		{"group", formName, "", "Whose devices, one after the other in an order that follows from the seed.", name(&x.Group), nil},
		{"method", formText, "", "The method's name.", text(&x.Method), nil},
		{"payload", formAny, "none", "What is sent.", document(&x.Payload), nil},
		{"rate", formRate, "", "Calls a second: 5/s, or 0/s..5/s, which changes linearly over each of stages, or over the run.", rate(&x.Rate), nil},
		{"timeout", formTime, "30s", "How long a device may take to answer. IoT Hub takes 5s to 5m, and its own answer is waited for ten seconds more.", duration(&x.Timeout, time.Second), nil},
		stagesField(&x.Stages),
	}
}

func twinReadFields(x *TwinReads) []field {
	return []field{
		{"group", formName, "", "Whose twins, one after the other in an order that follows from the seed.", name(&x.Group), nil},
		{"rate", formRate, "", "Reads a second; see methods.", rate(&x.Rate), nil},
		stagesField(&x.Stages),
	}
}

func jobFields(x *Job) []field {
	method := func(m *JobMethod) []field {
		return []field{
			{"name", formText, "", "The method's name.", text(&m.Name), nil},
			{"payload", formAny, "none", "What is sent.", document(&m.Payload), nil},
			{"timeout", formTime, "30s", "How long a device may take to answer.", duration(&m.Timeout, time.Second), nil},
		}
	}
	return []field{
		{"name", formName, "", "The job's name, in metrics and thresholds. Its id is made of it and of the run's start.", name(&x.Name), nil},
		{"type", formText, "", "twin or method.", oneOf(&x.Type, "twin", "method"), nil},
		{"query", formText, "all devices", "The condition that selects the devices: what stands behind WHERE.", text(&x.Query), nil},
		{"tags", formAny, "none", "Tags that a twin job writes.", document(&x.Tags), nil},
		{"desired", formAny, "none", "Desired properties that a twin job writes.", document(&x.Desired), nil},
		{"method", formObject, "none", "What a method job calls.", optional(&x.Method, func() JobMethod { return JobMethod{Timeout: 30 * time.Second} }, method), method(new(JobMethod))},
		{"at", formTime, "0s", "When it is created, after the start of the first stage, or of stage.", duration(&x.At, 0), nil},
		{"stage", formName, "the first", "The stage that at counts from.", name(&x.Stage), nil},
		{"max_time", formTime, "10m", "How long the job may take.", duration(&x.MaxTime, time.Second), nil},
	}
}

// How often the audit asks when the scenario does not say: often, and on a hub with limits so that one unit
// of the smallest tier, which allows 20 queries a minute, is left some for others.
const (
	defaultProbe = 500 * time.Millisecond
	limitedProbe = 5 * time.Second
	unsetProbe   = -1

	unsetTolerance = -1
)

// freshFreshness is the audit when a scenario says nothing of it, but for how often it asks.
func freshFreshness() Freshness {
	return Freshness{Probe: unsetProbe, Tolerance: unsetTolerance, Sample: 200, Timeout: time.Minute, Settle: 5 * time.Second, Verify: true}
}

func freshnessFields(x *Freshness) []field {
	return []field{
		{"probe", formTime, "500ms; 5s on Azure IoT Hub or with a tier", "How often the audit asks for the sampled devices; 0s leaves it to service.queries that select whole twins. It is the resolution of freshness, and every probe is a query that the hub counts and throttles.", duration(&x.Probe, 0), nil},
		{"sample", formCount, "200", "Devices that are watched at the most; which ones follows from the seed.", count(&x.Sample, 1, 100_000), nil},
		{"query", formText, "made from the sample", "A probing query of your own, such as SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'. It must select whole twins, or deviceId and properties.reported.$version.", text(&x.Query), nil},
		{"tolerance", formTime, "0s on the embedded hub, a second more than its query_lag with one; 5s on other hubs", "How much older than what was acknowledged a result may be before a device counts as missing, extra or stale. Such rows fail the run, unless a threshold on correct_rate judges them.", duration(&x.Tolerance, 0), nil},
		{"timeout", formTime, "1m", "After how long an acknowledged report that no result has shown counts as timed out.", duration(&x.Timeout, moment), nil},
		{"settle", formTime, "5s", "How long the audit asks on after the last stage for reports that no result has shown.", duration(&x.Settle, 0), nil},
		{"verify", formSwitch, "true", "Read the sampled twins at the end: an acknowledged report that is missing fails the run.", boolean(&x.Verify), nil},
	}
}

// readCron reads a cron expression.
func readCron(into **schedule.Cron) func(*reader, string, *yaml.Node) {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a cron expression such as */5 * * * *", "!!str")
		if !ok {
			return
		}
		c, err := schedule.ParseCron(s)
		if err != nil {
			r.fail(path, n, "%v", err)
			return
		}
		*into = c
	}
}

// readExpectation reads a number, or a comparison with one.
func readExpectation(into **Expectation) func(*reader, string, *yaml.Node) {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a number such as 3000, or a comparison such as >= 2990", "!!str", "!!int")
		if !ok {
			return
		}
		x := Expectation{Op: "="}
		rest := strings.TrimSpace(s)
		for _, op := range []string{"!=", "<=", ">=", "==", "=", "<", ">"} {
			if after, found := strings.CutPrefix(rest, op); found {
				x.Op, rest = op, strings.TrimSpace(after)
				break
			}
		}
		if x.Op == "==" {
			x.Op = "="
		}
		of, ok := r.ofFleet(path, n, rest)
		if !ok || of >= 0 {
			r.numbers = append(r.numbers, number{into: &x.Count, share: of})
			*into = &x
			return
		}
		var err error
		if x.Count, err = strconv.Atoi(strings.ReplaceAll(rest, "_", "")); err != nil || x.Count < 0 {
			r.fail(path, n, "%q is no expectation; write a number such as 3000, or a comparison such as >= 2990", s)
			return
		}
		*into = &x
	}
}

// readTags reads documents by group.
func readTags(s *Service) func(*reader, string, *yaml.Node) {
	return func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.fail(path, n, "expected tags by group, found %s", kindName(n))
			return
		}
		s.Tags = make(map[string]json.RawMessage)
		r.pairs(path, n, func(key string, k, v *yaml.Node) {
			var doc json.RawMessage
			document(&doc)(r, join(path, key), v)
			s.Tags[key] = doc
			r.groupNames = append(r.groupNames, reference{join(path, key), key, placeOf(k)})
		})
	}
}
