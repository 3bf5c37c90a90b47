package scenario

import (
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// number is a number of devices in the file, which may be a share of the fleet.
type number struct {
	into  *int
	path  string  // of one that follows the size of the fleet when another is asked for; "" for expectations
	share float64 // of all devices; below 0 for a number as it stands
}

// finish makes a share a number, now that it is known of how many. What is above 0 % is one device at least.
func (x *number) finish(devices int) {
	switch {
	case x.share < 0:
	case x.share == 0:
		*x.into = 0
	default:
		*x.into = max(min(1, devices), int(math.Round(x.share*float64(devices))))
	}
}

// devices reads a number of devices: 100, or 80% of the fleet.
func devices(into *int) func(*reader, string, *yaml.Node) {
	return func(r *reader, path string, n *yaml.Node) {
		s, ok := r.ofFleet(path, n, n.Value)
		if ok && s < 0 {
			count(into, 0, most)(r, path, n)
		}
		r.numbers = append(r.numbers, number{into, path, s})
	}
}

// expected is devices for a number that is expected of the target, whatever the size of the fleet.
func expected(into *int) func(*reader, string, *yaml.Node) {
	return func(r *reader, path string, n *yaml.Node) {
		devices(into)(r, path, n)
		r.numbers[len(r.numbers)-1].path = ""
	}
}

// ofFleet reads a share of all devices; it is below 0 for what is none. Mistakes are problems.
func (r *reader) ofFleet(path string, n *yaml.Node, text string) (s float64, ok bool) {
	text, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	if n.Kind != yaml.ScalarNode || r.unfilled[path] || !percent {
		return -1, true
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(s >= 0 && s <= 100) {
		r.fail(path, n, "%q is no share of the devices; write 0%% to 100%%, or a whole number", n.Value)
		return 1, false // so that nothing follows from it
	}
	return s / 100, true
}

// finishSizes gives the run the size that was asked for, and makes numbers of shares of the fleet.
func (r *reader) finishSizes(s *Scenario) {
	if r.devices != 0 {
		r.scaleDevices(s, r.devices)
	}
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		g.Identity.Devices = g.Identity.Devices[:min(g.Count, len(g.Identity.Devices))]
	}
	r.finishNumbers(s.Devices())
	if r.duration != 0 {
		r.scaleDuration(s, r.duration)
	}
}

// finishNumbers makes numbers of shares of so many devices.
func (r *reader) finishNumbers(devices int) {
	for i := range r.numbers {
		r.numbers[i].finish(devices)
	}
}
