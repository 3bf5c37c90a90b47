package scenario

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// Network is what is wrong, while a stage lasts, with the network between devices and their target.
type Network struct {
	Groups    []string      // whose devices; empty for all
	Latency   time.Duration // one way, in each direction
	Jitter    time.Duration // up to so much more
	Loss      float64       // share of the devices' writes that reset their connections
	Bandwidth float64       // bytes a second of each connection in each direction; 0 for no limit
	HalfOpen  float64       // share of the devices whose open connections go dead
	Partition *Partition    // nil cuts nobody off
	For       time.Duration // 0 for the whole stage
}

// Partition cuts devices off.
type Partition struct {
	Share float64       // of the devices, 0 to 1
	For   time.Duration // 0 for as long as the rest of the network is bad
}

func networkKeys(w *Network) []language.Key {
	partition := func(p *Partition) []language.Key {
		return []language.Key{
			key("share", value.Share(&p.Share).Required(), none,
				"Share of the devices that are cut off: nothing passes in either direction, and nobody says so. What was sent meanwhile "+
					"arrives afterwards."),
			key("for", timing.Duration(&p.For, timing.Shortest), means("as long as the rest"), "How long."),
		}
	}
	return []language.Key{
		key("groups", value.Texts(&w.Groups), means("all"), "Whose devices."),
		key("latency", timing.Duration(&w.Latency, 0), is("0s"), "Added one way, in each direction: a round trip takes twice as much longer."),
		key("jitter", timing.Duration(&w.Jitter, 0), is("0s"), "Up to so much more, by chance, one way. Nothing overtakes."),
		key("loss", value.Share(&w.Loss), is("0%"), "Share of what devices write that resets the connection instead."),
		key("bandwidth", value.Bandwidth(&w.Bandwidth), means("no limit"), "Of each connection, in each direction."),
		key("half_open", value.Share(&w.HalfOpen), is("0%"),
			"Share of the devices whose open connections go dead when it begins: no answer, no close. New connections work; a device "+
				"notices by its keepalive."),
		key("partition", value.Optional(&w.Partition, value.Empty, partition), means("none"), "Cut a share of the devices off."),
		key("for", timing.Duration(&w.For, timing.Shortest), means("the stage"), "How long the network is bad, from the start of the stage."),
	}
}
