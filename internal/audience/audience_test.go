package audience_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/audience"
	"github.com/twinfleet/twinfleet/internal/audience/audiencetest"
)

func ExampleIndex_Of() {
	x := audience.New([]audience.Subscriber{
		{Index: 10, Filters: []string{"plants/+/telemetry", "plants/#"}},
		{Index: 11, Filters: []string{"$share/workers/plants/#"}},
		{Index: 12, Filters: []string{"$share/workers/plants/#"}},
	})
	a := x.Of("plants/7/telemetry", 0)
	fmt.Println(a.Slots(), a.Own, a.Groups[0].Name, a.Groups[0].Members)
	// Output: 2 [{10 2}] workers [11 12]
}

// The examples of sections 4.7.1, 4.7.2 and 4.7.3 of MQTT 3.1.1 and 5, in their order.
func TestExamplesOfTheSpecification(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		matches       bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"#", "sport/tennis", true},
		{"sport/tennis/#", "sport/tennis", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player2", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+", "sport", true},
		{"+/tennis/#", "sport/tennis/player1", true},
		{"sport/+/player1", "sport/tennis/player1", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/broker", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/broker", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"ACCOUNTS", "Accounts", false},
		{"Accounts payable", "Accounts payable", true},
		{"/finance", "finance", false},
		{"finance", "/finance", false},
		{"a/$b/+", "a/$b/c", true},
		{"a/+", "a/$b", true},
		{"a/#", "a/$b", true},
		{"$share/g/#", "$SYS/broker", false},
		{"$share/g/$SYS/#", "$SYS/broker", true},
		{"$share/g/+/b", "a/b", true},
		{"$share/g//a", "/a", true},
		{"#", "/", true},
		{"+/+", "/", true},
		{"+/#", "a", true},
		{"a/+/#", "a/b", true},
		{"a/+/#", "a", false},
	} {
		x := audience.New([]audience.Subscriber{{Index: 3, Filters: []string{c.filter}}})
		if got := x.Fanout(c.topic, 0) == 1; got != c.matches {
			t.Errorf("%s matches %s: %v", c.filter, c.topic, got)
		}
	}
}

// Who gets what: overlapping filters, filters said twice, shared groups, and publishers that do not get what they send.
func TestAudiences(t *testing.T) {
	for _, c := range []struct {
		name        string
		subscribers []audience.Subscriber
		publisher   int
		want        string
	}{
		{"nobody", nil, 0, "[] []"},
		{"a filter twice is one", []audience.Subscriber{{Index: 1, Filters: []string{"a/b", "a/b"}}}, 0, "[{1 1}] []"},
		{"filters that overlap", []audience.Subscriber{{Index: 1, Filters: []string{"a/b", "a/+", "#", "c"}}}, 0, "[{1 3}] []"},
		{"in their order", []audience.Subscriber{{Index: 7, Filters: []string{"#"}}, {Index: 2, Filters: []string{"a/#"}}}, 0, "[{2 1} {7 1}] []"},
		{"a group", []audience.Subscriber{{Index: 1, Filters: []string{"$share/g/a/#"}}, {Index: 2, Filters: []string{"$share/g/a/#"}}}, 0, "[] [g:a/# [1 2]]"},
		{
			"two filters of a name are two groups",
			[]audience.Subscriber{{Index: 1, Filters: []string{"$share/g/a/#", "$share/g/a/+"}}, {Index: 2, Filters: []string{"$share/g/a/#"}}},
			0, "[] [g:a/# [1 2] g:a/+ [1]]",
		},
		{
			"two names of a filter are two groups",
			[]audience.Subscriber{{Index: 1, Filters: []string{"$share/g/#", "$share/h/#"}}},
			0, "[] [g:# [1] h:# [1]]",
		},
		{"of a group and for oneself", []audience.Subscriber{{Index: 1, Filters: []string{"$share/g/#", "#"}}}, 0, "[{1 1}] [g:# [1]]"},
		{"not what one sends", []audience.Subscriber{{Index: 1, Filters: []string{"#"}, NoLocal: true}, {Index: 2, Filters: []string{"#"}}}, 1, "[{2 1}] []"},
		{"what one sends", []audience.Subscriber{{Index: 1, Filters: []string{"#"}}}, 1, "[{1 1}] []"},
		{"what others send", []audience.Subscriber{{Index: 1, Filters: []string{"#"}, NoLocal: true}}, 2, "[{1 1}] []"},
	} {
		x := audience.New(c.subscribers)
		a := x.Of("a/b", c.publisher)
		var groups []string
		for _, g := range a.Groups {
			groups = append(groups, fmt.Sprintf("%s:%s %v", g.Name, g.Filter, g.Members))
		}
		if got := fmt.Sprint(a.Own, " ", groups); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if n := x.Fanout("a/b", c.publisher); n != a.Slots() {
			t.Errorf("%s: %d deliveries planned, %d reckoned", c.name, n, a.Slots())
		}
	}
}

// A slot is absent when nobody is there who could get its copy.
func TestAbsent(t *testing.T) {
	x := audience.New([]audience.Subscriber{
		{Index: 1, Filters: []string{"#"}}, {Index: 2, Filters: []string{"#", "$share/g/#"}}, {Index: 3, Filters: []string{"$share/g/#", "$share/h/#"}},
	})
	a := x.Of("t", 0)
	for _, c := range []struct {
		there []int
		want  []int
	}{{[]int{1, 2, 3}, nil}, {[]int{1, 2}, []int{3}}, {[]int{3}, []int{0, 1}}, {nil, []int{0, 1, 2, 3}}} {
		if got := a.Absent(func(s int) bool { return slices.Contains(c.there, s) }); !slices.Equal(got, c.want) {
			t.Errorf("with %v there, %v are absent; want %v", c.there, got, c.want)
		}
	}
	if slot, ok := a.Of(2); slot != 1 || !ok {
		t.Error(slot, ok)
	}
	if _, ok := a.Of(3); ok || !a.Groups[0].Has(3) || a.Groups[0].Has(1) || a.Overlap() || a.Copies(3) != 1 {
		t.Errorf("%+v", a)
	}
}

func level() *rapid.Generator[string] { return rapid.SampledFrom([]string{"a", "b", "", "$a", "+x"}) }

func topics() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := strings.ReplaceAll(strings.Join(rapid.SliceOfN(level(), 1, 4).Draw(t, "levels"), "/"), "+x", "c")
		if s == "" {
			return "a"
		}
		return s
	})
}

func filters() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "$a", "+", "+"}), 1, 4).Draw(t, "levels")
		if rapid.Bool().Draw(t, "ends with #") {
			levels = append(levels, "#")
		}
		s := strings.Join(levels, "/")
		if s == "" {
			s = "#"
		}
		switch rapid.IntRange(0, 4).Draw(t, "shared") {
		case 0:
			return "$share/g/" + s
		case 1:
			return "$share/h/" + s
		}
		return s
	})
}

func drawn(t *rapid.T) []audience.Subscriber {
	all := make([]audience.Subscriber, rapid.IntRange(0, 6).Draw(t, "subscribers"))
	for i := range all {
		all[i] = audience.Subscriber{Index: i, Filters: rapid.SliceOfN(filters(), 0, 5).Draw(t, "filters"), NoLocal: rapid.Bool().Draw(t, "no local")}
	}
	return all
}

// By levels side by side and by index, the audience is the same; equal ones are one.
func TestAudienceIsWhoMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawn(t)
		x := audience.New(all)
		known := make(map[string]*audience.Audience)
		for range 5 {
			topic, publisher := topics().Draw(t, "topic"), rapid.IntRange(-1, 6).Draw(t, "publisher")
			own, groups := make(map[int]int), make(map[string][]int)
			for _, s := range all {
				seen := make(map[string]bool)
				for _, f := range s.Filters {
					if seen[f] {
						continue
					}
					seen[f] = true
					if rest, ok := strings.CutPrefix(f, "$share/"); ok {
						if _, filter, _ := strings.Cut(rest, "/"); audiencetest.Matches(filter, topic) {
							groups[rest] = append(groups[rest], s.Index)
						}
					} else if audiencetest.Matches(f, topic) && !(s.NoLocal && s.Index == publisher) {
						own[s.Index]++
					}
				}
			}
			a := x.Of(topic, publisher)
			gotOwn, gotGroups := make(map[int]int), make(map[string][]int)
			for _, o := range a.Own {
				gotOwn[o.Subscriber] = o.Copies
			}
			for _, g := range a.Groups {
				gotGroups[g.Name+"/"+g.Filter] = g.Members
			}
			if fmt.Sprint(own, groups) != fmt.Sprint(gotOwn, gotGroups) || a.Slots() != len(own)+len(groups) || x.Fanout(topic, publisher) != a.Slots() {
				t.Fatalf("%s from %d: %v %v, want %v %v", topic, publisher, gotOwn, gotGroups, own, groups)
			}
			hear := make(map[int]bool)
			for s := range x.Hearers(topic, publisher) {
				hear[s] = true
			}
			for i := range 10 {
				if hear[i] != a.Has(i) {
					t.Fatalf("%s from %d: %d hears it: %t", topic, publisher, i, hear[i])
				}
			}
			key := fmt.Sprint(own, groups)
			if b := known[key]; b != nil && a != b {
				t.Fatalf("%s: two audiences of %s", topic, key)
			}
			known[key] = a
		}
	})
}

// A broker that none of this project wrote matches as the index does. It takes "+/#" for less than it is: a level, but not that level
// alone (section 4.7.1.2 says that # stands for its parent too), so that filters which end so are left out.
func TestAudienceIsThatOfMochi(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawn(t)
		theirs := mqtt.NewTopicsIndex()
		for i := range all {
			all[i].NoLocal = false
			all[i].Filters = slices.DeleteFunc(all[i].Filters, func(f string) bool {
				return strings.HasSuffix(f, "+/#")
			})
			for _, f := range all[i].Filters {
				theirs.Subscribe(fmt.Sprint(i), packets.Subscription{Filter: f})
			}
		}
		x, topic := audience.New(all), topics().Draw(t, "topic")
		a, b := x.Of(topic, -1), theirs.Subscribers(topic)
		groups := !strings.HasPrefix(topic, "$") // it lets shared subscriptions match these by wildcards
		if len(a.Own) != len(b.Subscriptions) || groups && len(a.Groups) != len(b.Shared) {
			t.Fatalf("%s: %v and %d groups; mochi: %v, %v", topic, a.Own, len(a.Groups), b.Subscriptions, b.Shared)
		}
		for _, o := range a.Own {
			if _, ok := b.Subscriptions[fmt.Sprint(o.Subscriber)]; !ok {
				t.Fatalf("%s: %d is none of mochi's %v", topic, o.Subscriber, b.Subscriptions)
			}
		}
		for _, g := range a.Groups {
			if members := b.Shared["$share/"+g.Name+"/"+g.Filter]; len(members) != len(g.Members) {
				t.Fatalf("%s: %v; mochi: %v", topic, g, members)
			}
		}
	})
}

// Ten thousand publishers whose messages the same subscribers get have one audience; ten thousand subscribers with topics of their own cost no
// search.
func TestManyAudiences(t *testing.T) {
	const many = 10_000
	var all []audience.Subscriber
	for i := range 10 {
		all = append(all, audience.Subscriber{Index: many + i, Filters: []string{"fleet/+/up", "fleet/#"}})
	}
	for i := range many {
		all = append(all, audience.Subscriber{Index: i, Filters: []string{fmt.Sprintf("fleet/d%d/down", i)}})
	}
	x := audience.New(all)
	first := x.Of("fleet/d0/up", 0)
	for i := range many {
		if a := x.Of(fmt.Sprintf("fleet/d%d/up", i), i); a != first || a.Slots() != 10 || a.Own[0].Copies != 2 {
			t.Fatalf("publisher %d: %+v", i, a)
		}
		if a := x.Of(fmt.Sprintf("fleet/d%d/down", i), -1); a.Slots() != 11 || a.Own[0].Subscriber != i {
			t.Fatalf("subscriber %d: %+v", i, a)
		}
	}
}
