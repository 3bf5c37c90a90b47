package scenario

import (
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/fleet/payload"
)

// loadFields are the keys of a group that say how a device loads its target.
func loadFields(g *Group) []field {
	subscribe := []field{
		{"topics", texts(&g.Subscribe.Topics).required(), none, "Topic filters, with the wildcards + and #; {device}, {group} and {index} are replaced."},
		{"qos", count(&g.Subscribe.QoS, 0, 2), is("1"), "The quality of service that is asked for."},
	}
	return []field{
		{"subscribe", object(subscribe), means("nothing"), "Broker: what devices listen to. Devices that subscribe start before all others."},
		{"in_flight", count(&g.InFlight, 1, 10_000), is("64"), "Operations of one device that may be unanswered at once."},
		{"overflow", oneOf(&g.Overflow, "drop", "wait"), is("drop"), "What is due while in_flight operations are unanswered: drop counts and forgets it; wait starts it late, when its turn comes, and its latency runs from the time that was intended."},
	}
}

func networkFields(w *Network) []field {
	partition := func(p *Partition) []field {
		return []field{
			{"share", share(&p.Share).required(), none, "Share of the devices that are cut off: nothing passes in either direction, and nobody says so. What was sent meanwhile arrives afterwards."},
			{"for", duration(&p.For, moment), means("as long as the rest"), "How long."},
		}
	}
	return []field{
		{"groups", texts(&w.Groups), means("all"), "Whose devices."},
		{"latency", duration(&w.Latency, 0), is("0s"), "Added one way, in each direction: a round trip takes twice as much longer."},
		{"jitter", duration(&w.Jitter, 0), is("0s"), "Up to so much more, by chance, one way. Nothing overtakes."},
		{"loss", share(&w.Loss), is("0%"), "Share of what devices write that resets the connection instead."},
		{"bandwidth", bandwidth(&w.Bandwidth), means("no limit"), "Of each connection, in each direction."},
		{"half_open", share(&w.HalfOpen), is("0%"), "Share of the devices whose open connections go dead when it begins: no answer, no close. New connections work; a device notices by its keepalive."},
		{"partition", optional(&w.Partition, empty, partition), means("none"), "Cut a share of the devices off."},
		{"for", duration(&w.For, moment), means("the stage"), "How long the network is bad, from the start of the stage."},
	}
}

// bandwidth reads bytes a second.
func bandwidth(into *float64) value {
	return value{form: formBytes, read: func(r *reader, path string, n *yaml.Node) {
		s, ok := r.scalar(path, n, "a bandwidth such as 64KB/s", "!!str", "!!int", "!!float")
		if !ok {
			return
		}
		number := strings.TrimRight(s, "/BKMbikst")
		unit := map[string]float64{
			"B/s": 1, "KB/s": 1e3, "MB/s": 1e6, "KiB/s": 1 << 10, "MiB/s": 1 << 20, "kbit/s": 1e3 / 8, "Mbit/s": 1e6 / 8,
		}[s[len(number):]]
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || unit == 0 || !(v*unit >= 1 && v < 1e9) {
			r.fail(path, n, "%q is no bandwidth; write 64KB/s, 1.5MB/s, 32KiB/s or 250kbit/s", s)
			return
		}
		*into = v * unit
	}}
}

// present is object for a part of which it matters whether it is there at all.
func present(is *bool, fields []field) value {
	return value{form: formObject, fields: fields, read: func(r *reader, path string, n *yaml.Node) {
		*is = true
		r.object(path, n, fields)
	}}
}

// rows reads the file of rows that a text names.
func rows(into **payload.Rows) value {
	return value{form: formText, read: func(r *reader, path string, n *yaml.Node) {
		name, ok := r.scalar(path, n, "the name of a file", "!!str")
		if !ok {
			return
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(r.file), name)
		}
		x, err := payload.ReadRows(name)
		if err != nil {
			r.fail(path, n, "%v", err)
			return
		}
		*into = x
	}}
}
