package scenario

import (
	"encoding/json"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/document"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Service is the service side.
type Service struct {
	Tags           map[string]json.RawMessage // by group
	TagMode        string                     // patch or bulk
	TagConcurrency int                        // calls under way at once, 1 to 1000
	Queries        []Query                    // with different names
	Rollouts       []Rollout                  // with different names
	Methods        []MethodCalls              // with different names
	TwinReads      []TwinReads                // one rate each
	Jobs           []Job                      // with different names
	Freshness      *Freshness                 // nil measures none
}

// MethodCalls is a direct method that is called at a rate.
type MethodCalls struct {
	Name    string          // in metrics and thresholds
	Group   string          // whose devices, in turn
	Method  string          // the method's own name
	Payload json.RawMessage // a JSON object; nil for none
	Rate    *Range          // calls a second
	Timeout time.Duration   // of an answer
	Stages  []string        // empty for the whole run
	place   problem.Place
}

// TwinReads is twins of a group that are read at a rate.
type TwinReads struct {
	Group  string   // whose twins, in turn
	Rate   *Range   // reads a second
	Stages []string // empty for the whole run
	place  problem.Place
}

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
