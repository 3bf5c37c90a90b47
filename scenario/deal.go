package scenario

import (
	"slices"
	"strconv"
	"strings"
)

// HubOf is the number in target.hubs of the hub that the device of an index in the fleet belongs to; 0 with one target. Devices are dealt
// in their order, as many at a time as share a connection: those stay together, and the next group goes on where the one before ended. So
// hubs differ by one such block at most, within every group and altogether.
func (s *Scenario) HubOf(index int) int {
	hubs := len(s.Target.Hubs)
	if hubs < 2 {
		return 0
	}
	blocks := 0
	for n := range s.Fleet.Groups {
		g := &s.Fleet.Groups[n]
		if index < g.Count || n == len(s.Fleet.Groups)-1 {
			return (blocks + index/g.PerConnection()) % hubs
		}
		index -= g.Count
		blocks += (g.Count + g.PerConnection() - 1) / g.PerConnection()
	}
	return 0
}

// IndexOf is the index in the fleet of the device with an id, which its group's template tells; ok is false for none of the scenario's. Of
// groups with a file it looks through the file's devices.
func (s *Scenario) IndexOf(id string) (index int, ok bool) {
	first := 0
	for n := range s.Fleet.Groups {
		g := &s.Fleet.Groups[n]
		if i, ok := g.indexOf(id); ok {
			return first + i, true
		}
		first += g.Count
	}
	return 0, false
}

// indexOf is the number in the group of the device with an id.
func (g *Group) indexOf(id string) (i int, ok bool) {
	if len(g.Identity.Devices) > 0 {
		i = slices.IndexFunc(g.Identity.Devices[:min(g.Count, len(g.Identity.Devices))], func(d DeviceKey) bool { return d.DeviceID == id })
		return i, i >= 0
	}
	before, _, numbered := strings.Cut(g.ID, "{index}")
	if !numbered {
		return 0, g.Count > 0 && g.DeviceID(0) == id
	}
	rest, ok := strings.CutPrefix(id, strings.ReplaceAll(before, "{group}", g.Name))
	if !ok {
		return 0, false
	}
	least := g.indexWidth()
	most := max(least, len(strconv.Itoa(g.FirstIndex+g.Count-1))) // digits of the last device
	for digits := least; digits <= min(most, len(rest)); digits++ {
		n, err := strconv.Atoi(rest[:digits])
		if i := n - g.FirstIndex; err == nil && i >= 0 && i < g.Count && g.DeviceID(i) == id {
			return i, true
		}
	}
	return 0, false
}
