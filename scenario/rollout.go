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

// Rollout brings desired properties to a group in waves.
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
	}
}
