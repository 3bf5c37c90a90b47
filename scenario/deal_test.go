package scenario

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hubs are n service connection strings.
func hubs(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("HostName=hub%d.example;SharedAccessKeyName=o;SharedAccessKey=a2V5", i)
	}
	return all
}

// Whatever the groups, every device is at exactly one hub, those who share a connection are at the same, and hubs differ by one such block at
// most, within every group and altogether.
func TestDevicesAreDealtToHubs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &Scenario{}
		s.Target.Hubs = hubs(rapid.IntRange(0, 5).Draw(t, "hubs"))
		for i := range rapid.IntRange(1, 5).Draw(t, "groups") {
			s.Fleet.Groups = append(s.Fleet.Groups, Group{
				Name: fmt.Sprint("g", i), ID: "{group}-{index}", Count: rapid.IntRange(1, 60).Draw(t, "count"), Shared: rapid.IntRange(0, 9).Draw(t, "shared"),
				FirstIndex: rapid.SampledFrom([]int{0, 1, 95, 999_990, MostIndex}).Draw(t, "first index"), IndexWidth: rapid.IntRange(0, 10).Draw(t, "width"),
			})
		}
		n := max(1, len(s.Target.Hubs))
		all, first := make([]int, n), 0
		for k := range s.Fleet.Groups {
			g := &s.Fleet.Groups[k]
			of := make([]int, n)
			for i := range g.Count {
				hub := s.HubOf(first + i)
				if hub < 0 || hub >= n {
					t.Fatalf("device %d is at hub %d of %d", first+i, hub, n)
				}
				lead, _ := g.Sharers(i)
				if other := s.HubOf(first + lead); other != hub {
					t.Fatalf("device %d of %s is at hub %d, and %d, whose connection it has, at %d", i, g.Name, hub, lead, other)
				}
				if i == lead {
					of[hub]++
					all[hub]++
				}
				if index, ok := s.IndexOf(g.DeviceID(i)); !ok || index != first+i {
					t.Fatalf("%s is device %d, %v; want %d", g.DeviceID(i), index, ok, first+i)
				}
			}
			balanced(t, g.Name, of)
			first += g.Count
		}
		balanced(t, "the fleet", all)
	})
}

func balanced(t *rapid.T, what string, of []int) {
	least, most := of[0], of[0]
	for _, n := range of {
		least, most = min(least, n), max(most, n)
	}
	if most-least > 1 {
		t.Fatalf("the hubs have %v blocks of %s", of, what)
	}
}

// An id is found whatever its template, and none that is not the scenario's.
func TestIndexOf(t *testing.T) {
	s := &Scenario{Fleet: Fleet{Groups: []Group{
		{Name: "a", ID: "{group}-{index}", Count: 3},
		{Name: "b", ID: "one", Count: 1},
		{Name: "c", ID: "x{index}1{index}-{group}", Count: 2},
		{Name: "d", ID: "", Count: 2, Identity: Identity{File: "f", Devices: []DeviceKey{{DeviceID: "known"}, {DeviceID: "Other"}}}},
		{Name: "e", ID: "{index}0", Count: 1_200_000},
		{Name: "f", ID: "f{index}", Count: 2, FirstIndex: 9, IndexWidth: 1},
		{Name: "h", ID: "h{index}", Count: 2, FirstIndex: 7, IndexWidth: 10},
	}}}
	for id, want := range map[string]int{
		"a-000000": 0, "a-000002": 2, "one": 3, "x0000001000000-c": 4, "x0000011000001-c": 5, "known": 6, "Other": 7, "0000000": 8, "11999990": 8 + 1_199_999, "9999990": 8 + 999_999,
		"f9": 8 + 1_200_000, "f10": 8 + 1_200_001, "h0000000008": 8 + 1_200_003, "f09": -1, "f8": -1, "f11": -1, "h0000000009": -1, "h7": -1, "f+9": -1,
		"": -1, "a-000003": -1, "a-00000": -1, "a-0000001": -1, "x0000001000001-c": -1, "other": -1, "12000000": -1, "-000010": -1, "+000010": -1,
	} {
		if got, ok := s.IndexOf(id); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q is device %d, %v; want %d", id, got, ok, want)
		}
	}
}

// Groups that have one template have different ids when their numbers do not overlap, and what is filled in elsewhere is the number of the id.
func TestFirstIndex(t *testing.T) {
	decode := func(first int) (*Scenario, error) {
		text := fmt.Sprintf("fleet: {groups: [{name: a, id: 'd{index}', count: 10, index_width: 3}, {name: b, id: 'd{index}', count: 5, index_width: 3, first_index: %d}]}\n"+
			"stages: [{name: s, devices: 1}]\n", first)
		return Decode("x.yaml", []byte(text), Options{})
	}
	s, err := decode(10)
	if err != nil {
		t.Fatal(err)
	}
	b := s.Group("b")
	if id := b.DeviceID(4); id != "d014" || b.Fill("{group}/{device}/{index}", id, 4) != "b/d014/014" {
		t.Errorf("%s, %s", id, b.Fill("{group}/{device}/{index}", id, 4))
	}
	if i, ok := s.IndexOf("d014"); !ok || i != 14 {
		t.Errorf("d014 is device %d, %v", i, ok)
	}
	if _, err := decode(9); err == nil || !strings.Contains(err.Error(), "device d009 is in group a too") {
		t.Errorf("ids that overlap: %v", err)
	}
}

// The keys of several hubs are nowhere in the scenario as it runs, and the first hub is the target for whoever asks for one.
func TestHubs(t *testing.T) {
	const file = "target: {hubs: [\"${HUB_A}\", \"" + "HostName=hub1.example:8883;SharedAccessKeyName=o;SharedAccessKey=c2VjcmV0" + "\"]}\n" +
		"fleet: {groups: [{name: robots, count: 4}]}\nstages: [{name: hold, duration: 10s, devices: 1}]\n"
	s, err := Decode("hubs.yaml", []byte(file), Options{Lookup: func(name string) (string, bool) { return hubs(1)[0], name == "HUB_A" }})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(s.Source); strings.Contains(text, "c2VjcmV0") || strings.Contains(text, "a2V5") || !strings.Contains(text, "${HUB_A}") {
		t.Errorf("the scenario as it runs is\n%s", text)
	}
	each := s.Target.Each()
	if len(each) != 2 || s.Target.Hub != each[0].Hub || each[0].Several() || !s.Target.Several() {
		t.Fatalf("the targets are %d", len(each))
	}
	for i, want := range []string{"hub0.example:8883", "hub1.example:8883"} {
		if x, err := each[i].Endpoint(); err != nil || x.Addr != want {
			t.Errorf("hub %d is at %s, %v; want %s", i, x.Addr, err, want)
		}
	}
	_, err = Decode("hubs.yaml", []byte(file), Options{Lookup: func(string) (string, bool) { return "HostName=x;SharedAccessKey=c2VjcmV0LXR3bw==", true }})
	if err == nil || strings.Contains(err.Error(), "c2VjcmV0LXR3bw") {
		t.Errorf("a broken connection string: %v", err)
	}
}
