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

// ByConfiguration is the Rollout.By of one whose twins the service writes.
const ByConfiguration = "configuration"

// Rollout brings desired properties to a group: in waves, or by a configuration of automatic device management.
type Rollout struct {
	Name       string          // in the record
	Group      string          // whose devices
	Properties json.RawMessage // desired properties, a JSON object
	At         time.Duration   // after the start of Stage
	Stage      string          // the first when empty
	Waves      []Wave          // with growing shares
	Rate       *Range          // twins patched a second
	Timeout    time.Duration   // of a device's notification and answer
	StopOver   float64         // share of a wave's devices that may fail; 1 never stops
	By         string          // who writes the twins: twins (the worker) or configuration (the service)
	Condition  string          // of a configuration: which twins it targets
	Shares     []int           // of a configuration: percent of the group whose times are taken; the last must be reached
	Priority   int             // of a configuration
	place      problem.Place
}

// Wave is one step of a rollout.
type Wave struct {
	Percent int           // of the group, with the waves before it
	For     time.Duration // from its start to the start of the next
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
		key("by", value.OneOf(&x.By, "twins", ByConfiguration), is("twins"),
			"Who writes the twins: twins is the worker, one PATCH each; configuration is the service, by a configuration of automatic "+
				"device management, which is removed at the end."),
		key("condition", value.Text(&x.Condition), none,
			"By configuration: the twins that it targets, written as after WHERE; they should be those of the group."),
		key("shares", value.Percents(&x.Shares), means("50%, 95%, 100%"),
			"By configuration: shares of the group whose times are taken. The run fails when the last is not reached within timeout, by what "+
				"the devices say and by the service's count."),
		key("priority", value.Count(&x.Priority, 0, 1_000_000), is("10"), "By configuration: its priority; where two conflict the larger wins."),
	}
}
