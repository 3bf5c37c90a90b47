package scenario

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
	spec "github.com/twinfleet/twinfleet/scenario/target"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/roster"
)

// number is a number of devices in the file, which may be a share of the fleet, or of a group.
type number struct {
	into  *int
	path  string  // of one that follows the size of the fleet when another is asked for; "" for expectations
	group string  // whose devices; "" for all
	share float64 // of all of them; below 0 for a number as it stands
	was   int     // before another size was asked for
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

// of is how many devices the number is one of.
func (x *number) of(s *Scenario) int {
	if x.group == "" {
		return s.Devices()
	}
	if g := s.Group(x.group); g != nil {
		return g.Count
	}
	return 0 // that there is no such group is said by others
}

// devices reads a number of devices: 100, or 80% of the fleet.
func (in *reader) devices(into *int) language.Value { return in.devicesOf("", into) }

func (in *reader) devicesOf(group string, into *int) language.Value {
	return language.Value{Form: form.Devices, Read: func(r *language.Reader, path string, n *yaml.Node) {
		s, ok := ofFleet(r, path, n, n.Value)
		if ok && s < 0 {
			value.Count(into, 0, most).Read(r, path, n)
		}
		in.numbers = append(in.numbers, number{into: into, path: path, group: group, share: s})
	}}
}

// goal is the number of devices that a stage has of a group.
type goal struct {
	group string
	n     int
	at    problem.Place
}

// goals reads the number of devices at the end of a stage: one for all, or one for each of some groups.
func (in *reader) goals(t *Stage) language.Value {
	return language.Value{Form: form.Goals, Keys: in.courseKeys(new(Shape)), Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			in.devices(&t.Devices).Read(r, path, n)
			return
		}
		if isShape(n) {
			x := new(Shape)
			if readShape(r, path, n, x, in.courseKeys(x)) {
				t.Course = x
			}
			return
		}
		if len(n.Content) == 0 {
			r.Fail(path, n, "names no group; write {robots: 100}, or 100%% for all devices")
			return
		}
		t.goals = make([]goal, 0, len(n.Content)/2) // the numbers stay where they are
		r.Pairs(path, n, func(key string, k, v *yaml.Node) {
			t.goals = append(t.goals, goal{key, anything, language.PlaceOf(v)})
			in.devicesOf(key, &t.goals[len(t.goals)-1].n).Read(r, language.Join(path, key), v)
			in.groupNames = append(in.groupNames, reference{language.Join(path, key), key, language.PlaceOf(k)})
		})
	}}
}

// expected is devices for a number that is expected of the target, whatever the size of the fleet.
func (in *reader) expected(into *int) language.Value {
	return language.Value{Form: form.Devices, Read: func(r *language.Reader, path string, n *yaml.Node) {
		in.devices(into).Read(r, path, n)
		in.numbers[len(in.numbers)-1].path = ""
	}}
}

// ofFleet reads a share of all devices; it is below 0 for what is none. Mistakes are problems.
func ofFleet(r *language.Reader, path string, n *yaml.Node, text string) (s float64, ok bool) {
	text, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	if n.Kind != yaml.ScalarNode || r.Unknown(path) || !percent {
		return -1, true
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(s >= 0 && s <= 100) {
		r.Fail(path, n, "%q is no share of the devices; write 0%% to 100%%, or a whole number", n.Value)
		return 1, false // so that nothing follows from it
	}
	return s / 100, true
}

// finishSizes gives the run the size that was asked for, and makes numbers of shares of the fleet.
func (r *reader) finishSizes(s *Scenario) {
	if r.wantDevices != 0 {
		r.scaleDevices(s, r.wantDevices)
	}
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		g.Identity.Devices = g.Identity.Devices[:min(g.Count, len(g.Identity.Devices))]
		g.Identity.Rows = g.Identity.Rows[:min(g.Count, len(g.Identity.Rows))]
	}
	r.finishNumbers(s)
	if r.wantDuration != 0 {
		r.scaleDuration(s, r.wantDuration)
		r.finishShapes(s)
	}
}

// finishNumbers makes numbers of shares of the fleet, and tells how many devices the stages have that say so by group.
func (r *reader) finishNumbers(s *Scenario) {
	for i := range r.numbers {
		r.numbers[i].finish(r.numbers[i].of(s))
	}
	r.finishShapes(s)
	if !slices.ContainsFunc(s.Stages, func(t Stage) bool { return t.goals != nil }) || s.Devices() > MostDevices {
		return
	}
	_, roster := s.Roster()
	for i := range s.Stages {
		t := &s.Stages[i]
		if t.goals == nil {
			r.bring(roster, t)
		} else {
			t.ByGroup = make([]int, len(s.Fleet.Groups))
			for g := range t.ByGroup {
				t.ByGroup[g] = anything
				if k := slices.IndexFunc(t.goals, func(x goal) bool { return x.group == s.Fleet.Groups[g].Name }); k >= 0 {
					t.ByGroup[g] = t.goals[k].n
				}
			}
			roster.BringGroups(t.ByGroup)
			t.Devices = roster.Active()
		}
		t.active = make([]int, len(s.Fleet.Groups))
		for g := range t.active {
			t.active[g] = roster.ActiveOf(g)
		}
	}
}

// bring has devices come and go as a stage says that has one number for all. Who is there at its end depends on how they came
// and went when groups were told apart before.
func (r *reader) bring(devices *roster.Roster, t *Stage) {
	for step := range t.DeviceCurve(devices.Active()).Steps(devices.Active()) {
		devices.Bring(step.Count)
	}
	if t.Devices >= 0 {
		devices.Bring(t.Devices)
	}
}

// Goals is the number of devices by group that the stage says: "robots 100, gates 5"; "" when it says none.
func (t *Stage) Goals() string {
	var parts []string
	for _, x := range t.goals {
		parts = append(parts, x.group+" "+strconv.Itoa(x.n))
	}
	return strings.Join(parts, ", ")
}

const (
	baseDescriptors    = 32 // standard streams, poller, /metrics and its scrapes, files
	serviceConnections = 40 // of the service side, at most: requests under way at once
)

// Sockets is how many connections to the target there are at once with so many devices, none of them in memory, and how many open files
// the process has.
func (s *Scenario) Sockets(devices int) (connections, descriptors int) {
	if s.Target.Transport == spec.Memory {
		return 0, baseDescriptors
	}
	connections = s.Connections(devices)
	if s.Target.Can().Service {
		connections += serviceConnections
	}
	descriptors = baseDescriptors + connections
	if s.Target.Can().InProcess { // the other end of every connection is here too
		descriptors += connections
	}
	return connections, descriptors
}

// Connections is how many connections so many devices have at the most: of those that share one, each may be the only one there.
func (s *Scenario) Connections(devices int) int {
	most := 0
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		most += (g.Count + g.PerConnection() - 1) / g.PerConnection()
	}
	return min(devices, most)
}

// Networks reports whether a stage makes the network bad.
func (s *Scenario) Networks() bool {
	return slices.ContainsFunc(s.Stages, func(t Stage) bool { return t.Network != nil })
}

// ActiveAt is how many devices of each group are active at the end of a stage, counted from 0; nil when no stage tells groups apart.
func (s *Scenario) ActiveAt(stage int) []int { return s.Stages[stage].active }

// Roster is the fleet before the first stage, and the indexes of the devices in the order in which they start: those who
// listen before those who talk.
func (s *Scenario) Roster() (order []int, active *roster.Roster) {
	var groups, ranks []int
	for i := range s.Fleet.Groups {
		g := &s.Fleet.Groups[i]
		rank := 1
		if g.Listens() {
			rank = 0
		}
		groups = append(groups, slices.Repeat([]int{i}, g.Count)...)
		ranks = append(ranks, slices.Repeat([]int{rank}, g.Count)...)
	}
	order = schedule.NewCalendar(s.Seed).Order(ranks)
	return order, roster.New(order, groups)
}
