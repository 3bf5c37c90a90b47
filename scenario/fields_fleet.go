package scenario

import (
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// loadKeys are the keys of a group that say how a device loads its target.
func loadKeys(g *Group) []language.Key {
	subscribe := []language.Key{
		key("topics", value.Texts(&g.Subscribe.Topics).Required(), none,
			"Topic filters, with the wildcards + and #; {device}, {group} and {index} are replaced."),
		key("qos", value.Count(&g.Subscribe.QoS, 0, 2), is("1"), "The quality of service that is asked for."),
	}
	return []language.Key{
		key("subscribe", value.Object(subscribe), means("nothing"),
			"Broker: what devices listen to. Devices that subscribe start before all others."),
		key("in_flight", value.Count(&g.InFlight, 1, 10_000), is("64"), "Operations of one device that may be unanswered at once."),
		key("overflow", value.OneOf(&g.Overflow, "drop", "wait"), is("drop"),
			"What is due while in_flight operations are unanswered: drop counts and forgets it; wait starts it late, when its turn "+
				"comes, and its latency runs from the time that was intended."),
	}
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
