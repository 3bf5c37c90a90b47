package cut_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/swarm/cut"
	"github.com/twinfleet/twinfleet/schedule"
)

// agents are so many, all alike.
func agents(n, capacity int) []cut.Agent {
	all := make([]cut.Agent, n)
	for i := range all {
		all[i] = cut.Agent{Name: fmt.Sprintf("agent-%d", i+1), Capacity: capacity}
	}
	return all
}

func mustCut(t interface{ Fatal(...any) }, groups []cut.Group, agents []cut.Agent) *cut.Cut {
	c, err := cut.New(groups, agents)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// owners is who runs each device; "" for nobody.
func owners(c *cut.Cut) []string {
	all := make([]string, c.Devices())
	for i := range all {
		all[i], _ = c.Owner(i)
	}
	return all
}

func counts(c *cut.Cut) map[string]int {
	n := make(map[string]int)
	for _, a := range owners(c) {
		n[a]++
	}
	return n
}

func TestShares(t *testing.T) {
	const unbound = math.MaxInt
	for _, x := range []struct {
		name   string
		groups []cut.Group
		agents []cut.Agent
		want   map[string]int
	}{
		{"alike", []cut.Group{{Count: 60_000}}, agents(4, 15_000), map[string]int{"agent-1": 15_000, "agent-2": 15_000, "agent-3": 15_000, "agent-4": 15_000}},
		{"by weight", []cut.Group{{Count: 100}, {Count: 200}}, []cut.Agent{{"slow", unbound, 1}, {"fast", unbound, 3}}, map[string]int{"slow": 75, "fast": 225}},
		{"not known is the mean", []cut.Group{{Count: 120}}, []cut.Agent{{"a", unbound, 1000}, {"b", unbound, 0}, {"c", unbound, 3000}}, map[string]int{"a": 20, "b": 40, "c": 60}},
		{"no more than one holds", []cut.Group{{Count: 100}}, []cut.Agent{{"small", 10, 0}, {"large", unbound, 0}}, map[string]int{"small": 10, "large": 90}},
		{"one that holds none", []cut.Group{{Count: 10}}, []cut.Agent{{"full", 0, 5}, {"other", 10, 1}}, map[string]int{"other": 10}},
		{"connections stay whole", []cut.Group{{Count: 25, Shared: 10}}, agents(2, 15), map[string]int{"agent-1": 15, "agent-2": 10}},
		{"large blocks come first", []cut.Group{{Count: 6}, {Count: 18, Shared: 6}}, agents(3, 8), map[string]int{"agent-1": 8, "agent-2": 8, "agent-3": 8}},
		{"groups of one", slices.Repeat([]cut.Group{{Count: 1}}, 8), agents(4, 8), map[string]int{"agent-1": 2, "agent-2": 2, "agent-3": 2, "agent-4": 2}},
		{"more agents than devices", []cut.Group{{Count: 2}}, agents(3, 8), map[string]int{"agent-1": 1, "agent-2": 1}},
		{"nothing", nil, agents(1, 0), map[string]int{}},
		{"great weights", []cut.Group{{Count: 30}}, []cut.Agent{{"a", unbound, math.MaxInt}, {"b", unbound, math.MaxInt / 2}}, map[string]int{"a": 20, "b": 10}},
	} {
		if got := counts(mustCut(t, x.groups, x.agents)); !maps.Equal(got, x.want) {
			t.Errorf("%s: %v; want %v", x.name, got, x.want)
		}
	}
}

func TestTooSmall(t *testing.T) {
	for _, x := range []struct {
		groups []cut.Group
		agents []cut.Agent
		want   string
	}{
		{[]cut.Group{{Count: 100_000}}, agents(4, 15_000), "60,000 of 100,000 devices fit 4 agents; 7 agents of that size would hold them"},
		{[]cut.Group{{Count: 1_000_000}}, agents(1, 10), "10 of 1,000,000 devices fit 1 agent; 100,000 agents of that size would hold them"},
		{[]cut.Group{{Count: 30, Shared: 10}}, agents(2, 15), "20 of 30 devices fit 2 agents; 3 agents of that size would hold them"},
		{[]cut.Group{{Count: 1000, Shared: 100}}, agents(2, 50), "0 of 1,000 devices fit 2 agents; no agent holds 100 devices, as many as share one connection"},
		{[]cut.Group{{Count: 10}}, agents(2, 0), "0 of 10 devices fit 2 agents; no agent holds 1 device"},
		{[]cut.Group{{Count: 20, Shared: 10}}, []cut.Agent{{"a", 10, 0}, {"b", 1, 0}}, "10 of 20 devices fit 2 agents"},
	} {
		_, err := cut.New(x.groups, x.agents)
		if small := (*cut.TooSmall)(nil); !errors.As(err, &small) || err.Error() != x.want {
			t.Errorf("%v\nwant %s", err, x.want)
		}
	}
}

func TestInvalid(t *testing.T) {
	for _, x := range []struct {
		name   string
		groups []cut.Group
		agents []cut.Agent
	}{
		{"no agents", []cut.Group{{Count: 1}}, nil},
		{"no name", []cut.Group{{Count: 1}}, []cut.Agent{{Capacity: 1}}},
		{"one name twice", []cut.Group{{Count: 1}}, []cut.Agent{{Name: "a", Capacity: 1}, {Name: "a", Capacity: 1}}},
		{"a capacity below 0", []cut.Group{{Count: 1}}, []cut.Agent{{Name: "a", Capacity: -1}}},
		{"a weight below 0", []cut.Group{{Count: 1}}, []cut.Agent{{Name: "a", Capacity: 1, Weight: -1}}},
		{"a count below 0", []cut.Group{{Count: -1}}, agents(1, 1)},
		{"a connection of fewer than none", []cut.Group{{Count: 1, Shared: -1}}, agents(1, 1)},
		{"too many devices", []cut.Group{{Count: 999_999_999}, {Count: 2}}, agents(1, math.MaxInt)},
		{"too many agents", []cut.Group{{Count: 1}}, agents(10_001, 1)},
	} {
		if _, err := cut.New(x.groups, x.agents); !errors.Is(err, cut.ErrInvalid) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

// drawn are groups and agents by chance.
func drawn(t *rapid.T, roomy bool) (groups []cut.Group, all []cut.Agent) {
	for range rapid.IntRange(1, 5).Draw(t, "groups") {
		groups = append(groups, cut.Group{Count: rapid.IntRange(0, 400).Draw(t, "count"), Shared: rapid.SampledFrom([]int{0, 1, 2, 7, 30}).Draw(t, "shared")})
	}
	total := 0
	for _, g := range groups {
		total += g.Count
	}
	for i := range rapid.IntRange(1, 9).Draw(t, "agents") {
		a := cut.Agent{Name: fmt.Sprintf("a%d", i), Capacity: total, Weight: rapid.IntRange(0, 5).Draw(t, "weight")}
		if !roomy {
			a.Capacity = rapid.IntRange(0, total+1).Draw(t, "capacity")
		}
		all = append(all, a)
	}
	return groups, all
}

// check holds a cut to what is promised of any: one owner, whole blocks, capacities, and that all questions have one answer.
func check(t *rapid.T, c *cut.Cut, groups []cut.Group, all []cut.Agent) {
	owner := owners(c)
	index := 0
	for _, g := range groups {
		for i := range g.Count {
			first, _ := schedule.Sharers(i, g.Shared, g.Count)
			if owner[index+i] != owner[index+first] {
				t.Fatalf("devices %d and %d share a connection: %s, %s", index+first, index+i, owner[index+first], owner[index+i])
			}
		}
		index += g.Count
	}
	has := make(map[string][]int)
	for i, a := range owner {
		has[a] = append(has[a], i)
	}
	for _, a := range all {
		if n := len(has[a.Name]); n > a.Capacity || n != c.Count(a.Name) || n > 0 && c.Lost(a.Name) {
			t.Fatalf("agent %s holds %d, and is given %d, or %d; lost: %v", a.Name, a.Capacity, n, c.Count(a.Name), c.Lost(a.Name))
		}
		if of := slices.Collect(c.Of(a.Name)); !slices.Equal(of, has[a.Name]) {
			t.Fatalf("agent %s: %v; its devices are %v", a.Name, of, has[a.Name])
		}
		mine := c.Mine(a.Name)
		for i := -1; i <= len(owner); i++ {
			if want := i >= 0 && i < len(owner) && owner[i] == a.Name; mine(i) != want {
				t.Fatalf("device %d is agent %s's: %v", i, a.Name, mine(i))
			}
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back cut.Cut
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if !slices.Equal(owners(&back), owner) || back.Epoch() != c.Epoch() {
		t.Fatalf("%s is another cut than it was", text)
	}
}

// A cut is whole, holds capacities, and is the same whatever order agents are named in; when it says that a fleet does not fit, it does not.
func TestCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups, all := drawn(t, false)
		shuffled := rapid.Permutation(all).Draw(t, "order")
		c, err := cut.New(groups, all)
		other, otherErr := cut.New(groups, shuffled)
		if small := (*cut.TooSmall)(nil); errors.As(err, &small) {
			sum, single := 0, true
			for _, a := range all {
				sum += a.Capacity
			}
			for _, g := range groups {
				single = single && g.Shared < 2
			}
			if single && sum >= small.Devices || small.Fit > sum || small.Fit >= small.Devices {
				t.Fatalf("%v, of a capacity of %d", err, sum)
			}
			if otherErr == nil || otherErr.Error() != err.Error() {
				t.Fatalf("%v, and in another order %v", err, otherErr)
			}
			if small.Needed > 0 && small.Needed <= len(all) && single {
				t.Fatalf("%d agents are too few: %v", len(all), err)
			}
			return
		}
		if err != nil || otherErr != nil {
			t.Fatal(err, otherErr)
		}
		check(t, c, groups, all)
		if !slices.Equal(owners(c), owners(other)) {
			t.Fatal("another order of the agents makes another cut")
		}
	})
}

// Of each group an agent has its share by weight, to within a block.
func TestBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups, all := drawn(t, true)
		c := mustCut(t, groups, all)
		known, sum := 0, 0.0
		for _, a := range all {
			if a.Weight > 0 {
				known, sum = known+1, sum+float64(a.Weight)
			}
		}
		mean := 1.0
		if known > 0 {
			mean = sum / float64(known)
		}
		sum += mean * float64(len(all)-known)
		owner := owners(c)
		index, ofAll := 0, make(map[string]float64)
		largest := 1.0
		for n, g := range groups {
			has := make(map[string]int)
			for _, a := range owner[index : index+g.Count] {
				has[a]++
			}
			index += g.Count
			largest = max(largest, float64(g.Shared))
			for _, a := range all {
				w := float64(a.Weight)
				if w == 0 {
					w = mean
				}
				share := w / sum * float64(g.Count)
				ofAll[a.Name] += float64(has[a.Name]) - share
				if away := math.Abs(float64(has[a.Name]) - share); away > float64(max(1, g.Shared))+1 { // shares are whole devices
					t.Fatalf("group %d: agent %s has %d of %d devices; its share is %.1f", n, a.Name, has[a.Name], g.Count, share)
				}
			}
		}
		for name, away := range ofAll { // what cannot be divided falls to another each time
			if math.Abs(away) > 2*largest+1 {
				t.Fatalf("agent %s has %.1f devices more than its share of all", name, away)
			}
		}
	})
}

// Of any first devices, and of those that come first in the order in which a fleet starts, each agent has about its share.
func TestPrefixes(t *testing.T) {
	const count = 40_000
	all := agents(7, count)
	all[3].Weight, all[4].Weight = 1, 3
	c := mustCut(t, []cut.Group{{Count: count}}, all)
	share := make(map[string]float64)
	for _, a := range all {
		share[a.Name] = float64(c.Count(a.Name)) / count
	}
	has := make(map[string]int)
	for i, a := range owners(c) {
		has[a]++
		for name, part := range share {
			if away := math.Abs(float64(has[name]) - part*float64(i+1)); away > 8 {
				t.Fatalf("of the first %d devices agent %s has %d: %.1f from its share", i+1, name, has[name], away)
			}
		}
	}
	clear(has)
	for place, i := range schedule.NewCalendar(1).Order(make([]int, count)) {
		a, _ := c.Owner(i)
		has[a]++
		n := float64(place + 1)
		for name, part := range share { // as chance has it, which the seed decides
			if away := math.Abs(float64(has[name]) - part*n); away > 5*math.Sqrt(n*part*(1-part))+5 {
				t.Fatalf("of the first %d to start agent %s has %d: %.1f from its share", place+1, name, has[name], away)
			}
		}
	}
}

// Who runs a device says nothing about its number modulo another: its hub, its address, what a template makes of it.
func TestApartFromTurns(t *testing.T) {
	const count = 48_000
	for _, n := range []int{2, 3, 4, 5, 8, 16} {
		owner := owners(mustCut(t, []cut.Group{{Count: count}}, agents(n, count)))
		for _, turns := range []int{2, 3, 4, 5, 8, 16} {
			has := make(map[string]float64)
			for i, a := range owner {
				has[fmt.Sprint(a, " ", i%turns)]++
			}
			if len(has) != n*turns {
				t.Errorf("%d agents, %d turns: some agents have no device of some turn", n, turns)
			}
			want := float64(count) / float64(n*turns)
			for key, got := range has {
				if math.Abs(got-want) > 6*math.Sqrt(want) {
					t.Errorf("%d agents, %d turns: %s has %.0f devices; chance gives %.0f", n, turns, key, got, want)
				}
			}
		}
	}
}

// Agents are lost one after the other, or several at once: the others keep what they have, and get what they have room for.
func TestLosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups, all := drawn(t, false)
		c, err := cut.New(groups, all)
		if err != nil {
			return
		}
		alive := rapid.Permutation(all).Draw(t, "which")
		for len(alive) > 1 {
			n := rapid.IntRange(1, min(3, len(alive)-1)).Draw(t, "lost")
			var names []string
			for _, a := range alive[:n] {
				names = append(names, a.Name)
			}
			was, before := c, owners(c)
			take := rapid.Bool().Draw(t, "taken over")
			if take {
				c, err = was.Redistribute(names...)
			} else {
				c, err = was.Without(names...)
			}
			need, room, single := 0, 0, true
			for _, a := range before {
				if slices.Contains(names, a) {
					need++
				}
			}
			for _, a := range alive[n:] {
				room += a.Capacity - was.Count(a.Name)
			}
			for _, g := range groups {
				single = single && g.Shared < 2
			}
			if small := (*cut.TooSmall)(nil); errors.As(err, &small) {
				if small.Devices != need || single && (room >= need || small.Fit != room) || small.Fit > room || small.Fit >= need {
					t.Fatalf("%v: they have %d, and the others room for %d", err, need, room)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			alive = alive[n:]
			check(t, c, groups, all)
			if !slices.Equal(owners(was), before) {
				t.Fatal("the cut before has changed")
			}
			gained := make(map[int]string)
			for i, a := range owners(c) {
				switch was := before[i]; {
				case was == "" || slices.Contains(names, was):
					if (a != "") != (take && was != "") {
						t.Fatalf("device %d was %q's, and is now %q's", i, was, a)
					}
					if a != "" {
						gained[i] = a
					}
				case a != was:
					t.Fatalf("device %d was taken from %s, which is not lost, for %q", i, was, a)
				}
			}
			for _, a := range all {
				for i := range c.Gained(a.Name, was.Epoch()) {
					if gained[i] != a.Name {
						t.Fatalf("agent %s gains device %d", a.Name, i)
					}
					delete(gained, i)
				}
			}
			if len(gained) > 0 {
				t.Fatalf("nobody is said to gain %v", gained)
			}
			if _, err := c.Without(names[0]); !errors.Is(err, cut.ErrUnknown) {
				t.Fatalf("losing %s once more: %v", names[0], err)
			}
		}
	})
}

func TestLossesInWords(t *testing.T) {
	c := mustCut(t, []cut.Group{{Count: 60_000}}, agents(4, 17_000))
	_, err := c.Redistribute("agent-2")
	if want := "of the 15,000 devices of agent-2, which was lost, 9,000 have no place: the other agents have room for 6,000"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	if _, err := c.Redistribute("nobody"); !errors.Is(err, cut.ErrUnknown) || !strings.Contains(err.Error(), "nobody") {
		t.Error(err)
	}
	if x, err := c.Without(); err != nil || x.Epoch() != 1 || c.Epoch() != 0 {
		t.Errorf("nothing lost: %v, %v", x, err)
	}
}

// As large as it may be, nothing overflows, and what one agent has is what others say that it has.
func TestLarge(t *testing.T) {
	all := agents(10_000, math.MaxInt)
	for i := range all {
		all[i].Weight = math.MaxInt - i
	}
	for _, x := range []struct {
		groups []cut.Group
		agents []cut.Agent
	}{
		{[]cut.Group{{Count: 500_000_000}, {Count: 499_999_999, Shared: 1000}, {Count: 1}}, all},
		{[]cut.Group{{Count: 3_000_000}, {Count: 1_500_001, Shared: 100}, {Count: 500_000}}, agents(100, 60_000)},
	} {
		c := mustCut(t, x.groups, x.agents)
		lost, err := c.Redistribute("agent-50")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []*cut.Cut{c, lost} {
			sum, least, most := 0, math.MaxInt, 0
			for _, a := range c.Agents() {
				if !c.Lost(a.Name) {
					n := c.Count(a.Name)
					sum, least, most = sum+n, min(least, n), max(most, n)
				}
			}
			if sum != c.Devices() || most-least > 2000 {
				t.Errorf("%d of %d devices are dealt, from %d to %d for an agent", sum, c.Devices(), least, most)
			}
			mine, n, before := c.Mine("agent-7"), 0, -1
			for i := range c.Of("agent-7") {
				if !mine(i) || i <= before {
					t.Fatalf("device %d after %d", i, before)
				}
				n, before = n+1, i
			}
			if n != c.Count("agent-7") {
				t.Errorf("%d devices are said, and there are %d", c.Count("agent-7"), n)
			}
		}
	}
}

// A cut that fits nothing is not read: neither by mistake nor with intent does it make anybody panic or run too much.
func TestDecodeRefuses(t *testing.T) {
	c, err := mustCut(t, []cut.Group{{Count: 7, Shared: 2}, {Count: 5}}, agents(3, 9)).Redistribute("agent-2")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ name, from, to string }{
		{"an unknown key", `"epoch":1`, `"epoch":1,"more":1`},
		{"a negative epoch", `{"epoch":1`, `{"epoch":-1`},
		{"a loss after the epoch", `{"epoch":1`, `{"epoch":0`},
		{"another count", `"count":7`, `"count":9`},
		{"agents in another order", `"name":"agent-1"`, `"name":"agent-9"`},
		{"a capacity that is too small", `"capacity":9`, `"capacity":1`},
		{"an agent that there is not", `"agent":1`, `"agent":7`},
		{"blocks for the lost one", `"agent":1`, `"agent":0`},
		{"no first deal", `"first":[`, `"first":[[1],`},
		{"a negative number", `"first":[[`, `"first":[[-1,`},
		{"no cut", `{"epoch"`, `["epoch"`},
	} {
		broken := strings.Replace(string(text), x.from, x.to, 1)
		if broken == string(text) {
			t.Fatalf("%s: %s has no %s", x.name, text, x.from)
		}
		var into cut.Cut
		if err := into.UnmarshalJSON([]byte(broken)); !errors.Is(err, cut.ErrInvalid) {
			t.Errorf("%s: %v", x.name, err)
		}
		if into.Devices() != 0 {
			t.Errorf("%s: there is a cut all the same", x.name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	c, err := cut.New([]cut.Group{{Count: 70, Shared: 8}, {Count: 5}}, agents(3, 60))
	if err != nil {
		f.Fatal(err)
	}
	for _, lose := range []func(...string) (*cut.Cut, error){c.Redistribute, c.Without} {
		lost, err := lose("agent-2")
		if err != nil {
			f.Fatal(err)
		}
		text, _ := json.Marshal(lost)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c cut.Cut
		if err := c.UnmarshalJSON(text); err != nil || c.Devices() > 10_000 {
			return
		}
		n := 0
		for _, a := range c.Agents() {
			for i := range c.Of(a.Name) {
				if owner, ok := c.Owner(i); !ok || owner != a.Name {
					t.Fatalf("device %d is of %s and of %s: %s", i, a.Name, owner, text)
				}
				n++
			}
		}
		for i, a := range owners(&c) {
			if a == "" {
				n++
			} else if c.Lost(a) {
				t.Fatalf("device %d is of %s, which is lost: %s", i, a, text)
			}
		}
		if n != c.Devices() {
			t.Fatalf("%d of %d devices are accounted for: %s", n, c.Devices(), text)
		}
	})
}

// A fleet of five million on a hundred agents, one of which is lost.
func BenchmarkFiveMillion(b *testing.B) {
	groups := []cut.Group{{Count: 3_000_000}, {Count: 1_500_000, Shared: 100}, {Count: 500_000}}
	all := agents(100, 60_000)
	c := mustCut(b, groups, all)
	lost, err := c.Redistribute("agent-50")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("New", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustCut(b, groups, all)
		}
	})
	b.Run("Redistribute", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Redistribute("agent-50"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Mine", func(b *testing.B) { // of one device
		mine, i, n := lost.Mine("agent-7"), 0, 0
		b.ReportAllocs()
		for b.Loop() {
			if i = (i + 7919) % lost.Devices(); mine(i) {
				n++
			}
		}
	})
	b.Run("Of", func(b *testing.B) { // all of one agent's 50,000
		b.ReportAllocs()
		for b.Loop() {
			for range lost.Of("agent-7") {
			}
		}
	})
	b.Run("JSON", func(b *testing.B) {
		text, err := json.Marshal(lost)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(text, new(cut.Cut)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(text)), "bytes")
	})
}
