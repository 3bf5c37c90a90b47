package scenario

import (
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/document"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Job is a scheduled job.
type Job struct {
	Name    string          // in metrics and thresholds
	Type    string          // twin or method
	Query   string          // condition; empty selects all devices
	Tags    json.RawMessage // that a twin job writes; nil for none
	Desired json.RawMessage // that a twin job writes; nil for none
	Method  *JobMethod      // that a method job calls; nil for a twin job
	At      time.Duration   // after the start of Stage
	Stage   string          // the first when empty
	MaxTime time.Duration   // that the job may take
	place   problem.Place
}

// JobMethod is the direct method that a job calls.
type JobMethod struct {
	Name    string          // the method's own name
	Payload json.RawMessage // a JSON object; nil for none
	Timeout time.Duration   // of an answer
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
