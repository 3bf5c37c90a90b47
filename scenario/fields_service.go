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
		{"tags", readTags(s), means("none"), "Tags that the worker sets on the devices of a group, before its first query: {robots: {location: {plant: Redmond43}}}. They are the same for the whole group."},
		{"tag_mode", oneOf(&s.TagMode, "patch", "bulk"), is("patch"), "patch sends one PATCH a twin, bulk sends 100 twins a call."},
		{"tag_concurrency", count(&s.TagConcurrency, 1, 1000), is("8"), "Calls under way at once."},
		{"queries", list(&s.Queries, empty, queryFields, func(q *Query, p place) { q.place = p }), means("none"), "Twin queries on a schedule."},
		{"rollouts", list(&s.Rollouts, empty, rolloutFields, func(x *Rollout, p place) { x.place = p }), means("none"), "Desired properties that reach a group in waves."},
		{"methods", list(&s.Methods, empty, methodFields, func(x *MethodCalls, p place) { x.place = p }), means("none"), "Direct methods that are called at a rate."},
		{"twin_reads", list(&s.TwinReads, empty, twinReadFields, func(x *TwinReads, p place) { x.place = p }), means("none"), "Twins that the service side reads at a rate. A read is given up after a minute."},
		{"jobs", list(&s.Jobs, empty, jobFields, func(x *Job, p place) { x.place = p }), means("none"), "Scheduled jobs, followed until their end."},
		{"freshness", optional(&s.Freshness, freshFreshness, freshnessFields), means("none; on with its defaults when a threshold asks for freshness"), "How fresh query results are, and whether they are right: for a sample of the devices."},
	}
}

func stagesField(into *[]string) field {
	return field{"stages", texts(into), means("the whole run"), "Only during these stages."}
}

func queryFields(q *Query) []field {
	return []field{
		{"name", name(&q.Name).required(), none, "The query's name, in metrics and thresholds."},
		{"sql", text(&q.SQL).required(), none, "The query, in the IoT Hub query language."},
		{"every", duration(&q.Every, moment), means("10s"), "How often it starts; or cron."},
		{"cron", readCron(&q.Cron), means("none"), "When it starts by the clock: */5 * * * *; with six fields the first is the second. In UTC, or by another clock: CRON_TZ=Europe/Berlin 30 2 * * *, which follows cron(8) where that is put forward or back. Day of month and weekday must both fit."},
		{"expect", readExpectation(&q.Expect), means("any"), "Items that the result should have: 3000, 100% of all devices, or >= 2990, with =, !=, <, <=, > or >=. A result with another number is counted, and can be a threshold: expected_rate > 99%."},
		{"page_size", count(&q.PageSize, 1, 1000), is("100"), "Items a page."},
		{"timeout", duration(&q.Timeout, moment), is("1m"), "For the whole result."},
		stagesField(&q.Stages),
	}
}

func rolloutFields(x *Rollout) []field {
	wave := func(w *Wave) []field {
		return []field{
			{"percent", count(&w.Percent, 1, 100).required(), none, "Share of the group that has the properties once the wave is over, in percent; it grows from wave to wave."},
			{"for", duration(&w.For, 0), is("0s"), "How long the wave is watched, from its start, before the next begins."},
		}
	}
	return []field{
		{"name", name(&x.Name).required(), none, "The rollout's name, in the record."},
		{"group", name(&x.Group).required(), none, "Whose devices."},
		{"properties", document(&x.Properties).required(), none, "The desired properties."},
		{"at", duration(&x.At, 0), is("0s"), "When it begins, after the start of the first stage, or of stage."},
		{"stage", name(&x.Stage), means("the first"), "The stage that at counts from."},
		{"waves", list(&x.Waves, empty, wave, nil), means("one of 100 percent"), "Which share of the group when. Which devices are in a wave follows from the seed."},
		{"rate", rate(&x.Rate), is("100/s"), "Twins patched a second."},
		{"timeout", duration(&x.Timeout, moment), is("30s"), "How long a device may take to be told, and to answer, from the write, which itself is given up after a minute."},
		{"stop_over", share(&x.StopOver), is("100%"), "Stop when more than this share of a wave's devices has not answered, or been told if they do not answer, by the end of the wave."},
	}
}

func methodFields(x *MethodCalls) []field {
	return []field{
		{"name", name(&x.Name).required(), none, "The name of the calls, in metrics and thresholds."},
		{"group", name(&x.Group).required(), none, "Whose devices, one after the other in an order that follows from the seed."},
		{"method", text(&x.Method).required(), none, "The method's name."},
		{"payload", document(&x.Payload), means("none"), "What is sent."},
		{"rate", rate(&x.Rate).required(), none, "Calls a second: 5/s, or 0/s..5/s, which changes linearly over each of stages, or over the run."},
		{"timeout", duration(&x.Timeout, time.Second), is("30s"), "How long a device may take to answer. IoT Hub takes 5s to 5m, and its own answer is waited for ten seconds more."},
		stagesField(&x.Stages),
	}
}

func twinReadFields(x *TwinReads) []field {
	return []field{
		{"group", name(&x.Group).required(), none, "Whose twins, one after the other in an order that follows from the seed."},
		{"rate", rate(&x.Rate).required(), none, "Reads a second; see methods."},
		stagesField(&x.Stages),
	}
}

func jobFields(x *Job) []field {
	method := func(m *JobMethod) []field {
		return []field{
			{"name", text(&m.Name).required(), none, "The method's name."},
			{"payload", document(&m.Payload), means("none"), "What is sent."},
			{"timeout", duration(&m.Timeout, time.Second), is("30s"), "How long a device may take to answer."},
		}
	}
	return []field{
		{"name", name(&x.Name).required(), none, "The job's name, in metrics and thresholds. Its id is made of it and of the run's start."},
		{"type", oneOf(&x.Type, "twin", "method").required(), none, "twin or method."},
		{"query", text(&x.Query), means("all devices"), "The condition that selects the devices: what stands behind WHERE."},
		{"tags", document(&x.Tags), means("none"), "Tags that a twin job writes."},
		{"desired", document(&x.Desired), means("none"), "Desired properties that a twin job writes."},
		{"method", optional(&x.Method, empty, method), means("none"), "What a method job calls."},
		{"at", duration(&x.At, 0), is("0s"), "When it is created, after the start of the first stage, or of stage."},
		{"stage", name(&x.Stage), means("the first"), "The stage that at counts from."},
		{"max_time", duration(&x.MaxTime, time.Second), is("10m"), "How long the job may take."},
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

// freshFreshness is the audit before anything is said of it.
func freshFreshness() Freshness { return Freshness{Probe: unsetProbe, Tolerance: unsetTolerance} }

func freshnessFields(x *Freshness) []field {
	return []field{
		{"probe", duration(&x.Probe, 0), means("500ms; 5s on Azure IoT Hub or with a tier"), "How often the audit asks for the sampled devices; 0s leaves it to service.queries that select whole twins. It is the resolution of freshness, and every probe is a query that the hub counts and throttles."},
		{"sample", count(&x.Sample, 1, 100_000), is("200"), "Devices that are watched at the most; which ones follows from the seed."},
		{"query", text(&x.Query), means("made from the sample"), "A probing query of your own, such as SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'. It must select whole twins, or deviceId and properties.reported.$version."},
		{"tolerance", duration(&x.Tolerance, 0), means("0s on the embedded hub, a second more than its query_lag with one; 5s on other hubs"), "How much older than what was acknowledged a result may be before a device counts as missing, extra or stale. Such rows fail the run, unless a threshold on correct_rate judges them."},
		{"timeout", duration(&x.Timeout, moment), is("1m"), "After how long an acknowledged report that no result has shown counts as timed out."},
		{"settle", duration(&x.Settle, 0), is("5s"), "How long the audit asks on after the last stage for reports that no result has shown."},
		{"verify", boolean(&x.Verify), is("true"), "Read the sampled twins at the end: an acknowledged report that is missing fails the run."},
	}
}

// readCron reads a cron expression.
func readCron(into **schedule.Cron) value {
	return value{form: formText, read: func(r *reader, path string, n *yaml.Node) {
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
	}}
}

// readExpectation reads a number, or a comparison with one.
func readExpectation(into **Expectation) value {
	return value{form: formText, read: func(r *reader, path string, n *yaml.Node) {
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
	}}
}

// readTags reads documents by group.
func readTags(s *Service) value {
	return value{form: formMap, read: func(r *reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.fail(path, n, "expected tags by group, found %s", kindName(n))
			return
		}
		s.Tags = make(map[string]json.RawMessage)
		r.pairs(path, n, func(key string, k, v *yaml.Node) {
			var doc json.RawMessage
			document(&doc).read(r, join(path, key), v)
			s.Tags[key] = doc
			r.groupNames = append(r.groupNames, reference{join(path, key), key, placeOf(k)})
		})
	}}
}
