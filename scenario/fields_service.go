package scenario

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/document"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

func (r *reader) serviceKeys(s *Service) []language.Key {
	return []language.Key{
		key("tags", r.readTags(s), means("none"),
			"Tags that the worker sets on the devices of a group, before its first query: {robots: {location: {plant: Redmond43}}}. "+
				"They are the same for the whole group."),
		key("tag_mode", value.OneOf(&s.TagMode, "patch", "bulk"), is("patch"), "patch sends one PATCH a twin, bulk sends 100 twins a call."),
		key("tag_concurrency", value.Count(&s.TagConcurrency, 1, 1000), is("8"), "Calls under way at once."),
		key("queries", value.List(&s.Queries, value.Empty, r.queryKeys, func(q *Query, p problem.Place) { q.place = p }), means("none"),
			"Twin queries on a schedule."),
		key("rollouts", value.List(&s.Rollouts, value.Empty, rolloutKeys, func(x *Rollout, p problem.Place) { x.place = p }), means("none"),
			"Desired properties that reach a group in waves."),
		key("methods", value.List(&s.Methods, value.Empty, methodKeys, func(x *MethodCalls, p problem.Place) { x.place = p }), means("none"),
			"Direct methods that are called at a rate."),
		key("twin_reads", value.List(&s.TwinReads, value.Empty, twinReadKeys, func(x *TwinReads, p problem.Place) { x.place = p }), means("none"),
			"Twins that the service side reads at a rate. A read is given up after a minute."),
		key("jobs", value.List(&s.Jobs, value.Empty, jobKeys, func(x *Job, p problem.Place) { x.place = p }), means("none"),
			"Scheduled jobs, followed until their end."),
		key("freshness", value.Optional(&s.Freshness, freshFreshness, freshnessKeys), means("none; on with its defaults when a threshold asks for freshness"),
			"How fresh query results are, and whether they are right: for a sample of the devices."),
	}
}

func stagesKey(into *[]string) language.Key {
	return key("stages", value.Texts(into), means("the whole run"), "Only during these stages.")
}

func (r *reader) queryKeys(q *Query) []language.Key {
	return []language.Key{
		key("name", value.Name(&q.Name).Required(), none, "The query's name, in metrics and thresholds."),
		key("sql", value.Text(&q.SQL).Required(), none, "The query, in the IoT Hub query language."),
		key("every", timing.Duration(&q.Every, timing.Shortest), means("10s"), "How often it starts; or cron."),
		key("cron", timing.Cron(&q.Cron), means("none"),
			"When it starts by the clock: */5 * * * *; with six fields the first is the second. In UTC, or by another clock: "+
				"CRON_TZ=Europe/Berlin 30 2 * * *, which follows cron(8) where that is put forward or back. Day of month and weekday "+
				"must both fit."),
		key("expect", r.readExpectation(&q.Expect), means("any"),
			"Items that the result should have: 3000, 100% of all devices, or >= 2990, with =, !=, <, <=, > or >=. A result with "+
				"another number is counted, and can be a threshold: expected_rate > 99%."),
		key("page_size", value.Count(&q.PageSize, 1, 1000), is("100"), "Items a page."),
		key("timeout", timing.Duration(&q.Timeout, timing.Shortest), is("1m"), "For the whole result."),
		stagesKey(&q.Stages),
	}
}

func rolloutKeys(x *Rollout) []language.Key {
	wave := func(w *Wave) []language.Key {
		return []language.Key{
			key("percent", value.Count(&w.Percent, 1, 100).Required(), none,
				"Share of the group that has the properties once the wave is over, in percent; it grows from wave to wave."),
			key("for", timing.Duration(&w.For, 0), is("0s"), "How long the wave is watched, from its start, before the next begins."),
		}
	}
	return []language.Key{
		key("name", value.Name(&x.Name).Required(), none, "The rollout's name, in the record."),
		key("group", value.Name(&x.Group).Required(), none, "Whose devices."),
		key("properties", document.Constant(&x.Properties).Required(), none, "The desired properties."),
		key("at", timing.Duration(&x.At, 0), is("0s"), "When it begins, after the start of the first stage, or of stage."),
		key("stage", value.Name(&x.Stage), means("the first"), "The stage that at counts from."),
		key("waves", value.List(&x.Waves, value.Empty, wave, nil), means("one of 100 percent"),
			"Which share of the group when. Which devices are in a wave follows from the seed."),
		key("rate", rate(&x.Rate), is("100/s"), "Twins patched a second."),
		key("timeout", timing.Duration(&x.Timeout, timing.Shortest), is("30s"),
			"How long a device may take to be told, and to answer, from the write, which itself is given up after a minute."),
		key("stop_over", value.Share(&x.StopOver), is("100%"),
			"Stop when more than this share of a wave's devices has not answered, or been told if they do not answer, by the end of "+
				"the wave."),
	}
}

func methodKeys(x *MethodCalls) []language.Key {
	return []language.Key{
		key("name", value.Name(&x.Name).Required(), none, "The name of the calls, in metrics and thresholds."),
		key("group", value.Name(&x.Group).Required(), none, "Whose devices, one after the other in an order that follows from the seed."),
		key("method", value.Text(&x.Method).Required(), none, "The method's name."),
		key("payload", document.Constant(&x.Payload), means("none"), "What is sent."),
		key("rate", rate(&x.Rate).Required(), none, "Calls a second: 5/s, or 0/s..5/s, which changes linearly over each of stages, or over the run."),
		key("timeout", timing.Duration(&x.Timeout, time.Second), is("30s"),
			"How long a device may take to answer. IoT Hub takes 5s to 5m, and its own answer is waited for ten seconds more."),
		stagesKey(&x.Stages),
	}
}

func twinReadKeys(x *TwinReads) []language.Key {
	return []language.Key{
		key("group", value.Name(&x.Group).Required(), none, "Whose twins, one after the other in an order that follows from the seed."),
		key("rate", rate(&x.Rate).Required(), none, "Reads a second; see methods."),
		stagesKey(&x.Stages),
	}
}

func jobKeys(x *Job) []language.Key {
	method := func(m *JobMethod) []language.Key {
		return []language.Key{
			key("name", value.Text(&m.Name).Required(), none, "The method's name."),
			key("payload", document.Constant(&m.Payload), means("none"), "What is sent."),
			key("timeout", timing.Duration(&m.Timeout, time.Second), is("30s"), "How long a device may take to answer."),
		}
	}
	return []language.Key{
		key("name", value.Name(&x.Name).Required(), none, "The job's name, in metrics and thresholds. Its id is made of it and of the run's start."),
		key("type", value.OneOf(&x.Type, "twin", "method").Required(), none, "twin or method."),
		key("query", value.Text(&x.Query), means("all devices"), "The condition that selects the devices: what stands behind WHERE."),
		key("tags", document.Constant(&x.Tags), means("none"), "Tags that a twin job writes."),
		key("desired", document.Constant(&x.Desired), means("none"), "Desired properties that a twin job writes."),
		key("method", value.Optional(&x.Method, value.Empty, method), means("none"), "What a method job calls."),
		key("at", timing.Duration(&x.At, 0), is("0s"), "When it is created, after the start of the first stage, or of stage."),
		key("stage", value.Name(&x.Stage), means("the first"), "The stage that at counts from."),
		key("max_time", timing.Duration(&x.MaxTime, time.Second), is("10m"), "How long the job may take."),
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

func freshnessKeys(x *Freshness) []language.Key {
	return []language.Key{
		key("probe", timing.Duration(&x.Probe, 0), means("500ms; 5s on Azure IoT Hub or with a tier"),
			"How often the audit asks for the sampled devices; 0s leaves it to service.queries that select whole twins. It is the "+
				"resolution of freshness, and every probe is a query that the hub counts and throttles."),
		key("sample", value.Count(&x.Sample, 1, 100_000), is("200"), "Devices that are watched at the most; which ones follows from the seed."),
		key("query", value.Text(&x.Query), means("made from the sample"),
			"A probing query of your own, such as SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'. It must select "+
				"whole twins, or deviceId and properties.reported.$version."),
		key("tolerance", timing.Duration(&x.Tolerance, 0), means("0s on the embedded hub, a second more than its query_lag with one; 5s on other hubs"),
			"How much older than what was acknowledged a result may be before a device counts as missing, extra or stale. Such rows "+
				"fail the run, unless a threshold on correct_rate judges them."),
		key("timeout", timing.Duration(&x.Timeout, timing.Shortest), is("1m"),
			"After how long an acknowledged report that no result has shown counts as timed out."),
		key("settle", timing.Duration(&x.Settle, 0), is("5s"),
			"How long the audit asks on after the last stage for reports that no result has shown."),
		key("verify", value.Bool(&x.Verify), is("true"), "Read the sampled twins at the end: an acknowledged report that is missing fails the run."),
	}
}

// readExpectation reads a number, or a comparison with one.
func (in *reader) readExpectation(into **Expectation) language.Value {
	return language.Value{Form: form.Text, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := r.Scalar(path, n, "a number such as 3000, or a comparison such as >= 2990", "!!str", "!!int")
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
		of, ok := ofFleet(r, path, n, rest)
		if !ok || of >= 0 {
			in.numbers = append(in.numbers, number{into: &x.Count, share: of})
			*into = &x
			return
		}
		var err error
		if x.Count, err = strconv.Atoi(strings.ReplaceAll(rest, "_", "")); err != nil || x.Count < 0 {
			r.Fail(path, n, "%q is no expectation; write a number such as 3000, or a comparison such as >= 2990", s)
			return
		}
		*into = &x
	}}
}

// readTags reads documents by group.
func (in *reader) readTags(s *Service) language.Value {
	return language.Value{Form: form.Map, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.Fail(path, n, "expected tags by group, found %s", language.KindName(n))
			return
		}
		s.Tags = make(map[string]json.RawMessage)
		r.Pairs(path, n, func(key string, k, v *yaml.Node) {
			var doc json.RawMessage
			document.Constant(&doc).Read(r, language.Join(path, key), v)
			s.Tags[key] = doc
			in.groupNames = append(in.groupNames, reference{language.Join(path, key), key, language.PlaceOf(k)})
		})
	}}
}
