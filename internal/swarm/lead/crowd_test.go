package lead

import (
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
)

// lostWith is an agent that was lost at a second, as it stood then.
func lostWith(name string, second int, s protocol.Status) *agent {
	return &agent{name: name, lost: &loss{known: time.Unix(int64(second), 0), status: s}}
}

func connected(n int) map[string]int { return map[string]int{fleet.StateConnected: n} }

// What became of the devices of lost agents is what those say that took them over. How many devices of their own are connected, in a ramp, in a
// storm or as the fleet gets smaller, says nothing of it.
func TestDevicesOfLostAgents(t *testing.T) {
	type took = map[string]protocol.Adopted
	for _, tt := range []struct {
		name                        string
		agents                      []*agent
		lost, losses, returns, left int
	}{
		{
			"nobody takes them over, and the others go up",
			[]*agent{lostWith("a", 1, protocol.Status{Counts: connected(10)}), {name: "b", status: protocol.Status{Counts: connected(1000)}}},
			10, 10, 0, 0,
		},
		{
			"some are back, and the others go down",
			[]*agent{lostWith("a", 1, protocol.Status{Counts: connected(10)}), {name: "b", status: protocol.Status{Counts: connected(0), Adopted: took{"a": {Active: 10, Back: 7}}}}},
			3, 10, 7, 0,
		},
		{
			"some were to stop before they were back, or before they were taken over",
			[]*agent{lostWith("a", 1, protocol.Status{Counts: connected(10)}), {name: "b", status: protocol.Status{Adopted: took{"a": {Active: 8, Back: 5, Left: 2}}}}},
			1, 10, 5, 4,
		},
		{
			"not all have looked yet",
			[]*agent{lostWith("a", 1, protocol.Status{Counts: connected(10)}), {name: "b", status: protocol.Status{Adopted: took{"a": {Active: 5, Back: 5}}}}, {name: "c"}},
			5, 10, 5, 0,
		},
		{
			"in a ramp, some had not been connected",
			[]*agent{lostWith("a", 1, protocol.Status{Counts: connected(10)}), {name: "b", status: protocol.Status{Adopted: took{"a": {Active: 15, Back: 12}}}}},
			3, 10, 7, 0,
		},
		{
			"in a storm, some were away already, and others had been",
			[]*agent{
				lostWith("a", 1, protocol.Status{Counts: connected(8), Lost: 2, Losses: 6, Returns: 4}),
				{name: "b", status: protocol.Status{Lost: 1, Losses: 3, Returns: 2, Adopted: took{"a": {Active: 10, Back: 9}}}},
			},
			2, 17, 15, 0,
		},
		{
			"two are lost, and each has its own",
			[]*agent{
				lostWith("a", 1, protocol.Status{Counts: connected(10)}), lostWith("b", 2, protocol.Status{Counts: connected(20), Adopted: took{"a": {}}}),
				{name: "c", status: protocol.Status{Adopted: took{"a": {Active: 10, Back: 10}, "b": {Active: 20, Back: 4}}}},
			},
			16, 30, 14, 0,
		},
		{
			"who took them over is lost too, and had not connected all",
			[]*agent{
				lostWith("a", 1, protocol.Status{Counts: connected(10)}), lostWith("b", 2, protocol.Status{Counts: connected(27), Adopted: took{"a": {Active: 10, Back: 7}}}),
				{name: "c", status: protocol.Status{Adopted: took{"a": {}, "b": {Active: 30, Back: 29}}}},
			},
			1, 37, 36, 0,
		},
	} {
		l := newTestLead(t, Options{OnLoss: Redistribute}, time.Now())
		l.agents = tt.agents
		got := []int{l.Lost(), l.Losses(), l.Returns(), l.Left()}
		if want := []int{tt.lost, tt.losses, tt.returns, tt.left}; !slices.Equal(got, want) {
			t.Errorf("%s: lost, losses, returns, left: %v; want %v", tt.name, got, want)
		}
		if got[0] != got[1]-got[2]-got[3] {
			t.Errorf("%s: %v does not add up", tt.name, got)
		}
	}
}

// A device that another agent took over is one device: it counts once among those that reported, and those that have a hub assigned. What nobody
// took over counts as well.
func TestDevicesCountOnce(t *testing.T) {
	reach := func(devices, assigned, tried, connected, repeated int) []fleet.Reach {
		return []fleet.Reach{{Group: "robots", Provisions: true, Devices: devices, Assigned: assigned, Tried: tried, Connected: connected, Repeated: repeated}}
	}
	a := lostWith("a", 1, protocol.Status{Reporters: 10, Last: "wifi"})
	a.now.Reach = reach(12, 11, 11, 10, 1)
	b := &agent{name: "b", status: protocol.Status{Reporters: 17}}
	b.now.Reach = reach(20, 20, 20, 20, 2)
	l := newTestLead(t, Options{OnLoss: Redistribute}, time.Now())
	l.agents = []*agent{a, b}
	check := func(name string, reporters int, want []fleet.Reach) {
		t.Helper()
		if n, _ := l.Reporters(); n != reporters || !slices.Equal(l.Reach(), want) {
			t.Errorf("%s: %d reporters, %+v; want %d, %+v", name, n, l.Reach(), reporters, want)
		}
	}
	check("nobody takes them over", 27, reach(32, 31, 31, 30, 3))
	b.status.Reporters, b.status.Adopted = 25, map[string]protocol.Adopted{"a": {Reporters: 8}}
	b.now.Reach, b.now.Adopted = reach(34, 33, 31, 29, 3), map[string][]fleet.Reach{"a": reach(14, 13, 11, 9, 1)}
	check("others do, and more of them run", 27, reach(34, 33, 31, 30, 4))
	b.status.Reporters, b.status.Adopted = 1, map[string]protocol.Adopted{"a": {Reporters: 1}}
	b.status.Last, a.lost.status.Reporters = "cellular", 1
	if n, last := l.Reporters(); n != 1 || last != "cellular" {
		t.Errorf("%d reporters, %q", n, last)
	}
}
