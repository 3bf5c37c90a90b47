package quick_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/quick"
)

const secret = "HostName=h.example.net;SharedAccessKeyName=owner;SharedAccessKey=a2V5"

func lookup(name string) (string, bool) { return secret, name == "TWINFLEET_HUB" }

func TestText(t *testing.T) {
	for _, x := range []struct {
		name string
		run  quick.Run
		want string
	}{
		{"the least", quick.Run{Devices: 3}, `name: quick
target:
  hub: embedded
fleet:
  groups:
  - name: fleet
    count: 3
    reported:
      connectivity:
        type: cellular
      every: 30s
stages:
- name: ramp
  duration: 15s
  devices: 100%
- name: hold
  duration: 45s
`},
		{"a broker", quick.Run{Hub: "mqtt://127.0.0.1", Devices: 1, Every: "~5s", Duration: 10 * time.Minute, Thresholds: []string{"p(95) < 1s", "connect: rate > 1/s"}}, `name: quick
target:
  hub: mqtt://127.0.0.1
fleet:
  groups:
  - name: fleet
    count: 1
    telemetry:
      every: ~5s
      payload:
        temperature: '{{ normal 21 3 }}'
stages:
- name: ramp
  duration: 30s
  devices: 100%
- name: hold
  duration: 9m30s
thresholds:
  connect:
  - rate > 1/s
  telemetry:
  - p(95) < 1s
`},
		{"everything", quick.Run{
			Hub: secret, HubVariable: "TWINFLEET_HUB", Devices: 2, Tags: []string{"tags.location.plant=Redmond43", "location.floor=2", "new=true", "note=${HOME}"},
			Queries: []string{"SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'"}, Thresholds: []string{"query{name=query-1}: p(95) < 1s"},
		}, `name: quick
target:
  hub: ${TWINFLEET_HUB}
fleet:
  groups:
  - name: fleet
    count: 2
    reported:
      connectivity:
        type: cellular
      every: 30s
stages:
- name: ramp
  duration: 15s
  devices: 100%
- name: hold
  duration: 45s
service:
  tags:
    fleet:
      location:
        floor: 2
        plant: Redmond43
      new: true
      note: $${HOME}
  queries:
  - name: query-1
    sql: SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'
    every: 6s
thresholds:
  query{name=query-1}:
  - p(95) < 1s
`},
	} {
		got, err := x.run.Text()
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if string(got) != x.want {
			t.Errorf("%s:\n%s\nwant:\n%s", x.name, got, x.want)
		}
		if _, err := scenario.Decode("quick.yaml", got, scenario.Options{Lookup: lookup}); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, x := range []struct {
		run  quick.Run
		want string
	}{
		{quick.Run{}, "how many devices?"},
		{quick.Run{Devices: 1, Tags: []string{"plant"}}, `"plant" is no tag`},
		{quick.Run{Devices: 1, Tags: []string{".a=1"}}, "is no tag"},
		{quick.Run{Devices: 1, Tags: []string{"a=1", "a=2"}}, "the tag a is given twice"},
		{quick.Run{Devices: 1, Tags: []string{"a=1", "a.b=2"}}, "the tag a has a value, and tags below it"},
		{quick.Run{Devices: 1, Tags: []string{"a.b=1", "a=2"}}, "the tag a is given twice"},
	} {
		if _, err := x.run.Text(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v; want %s", x.run, err, x.want)
		}
	}
	if text, err := (&quick.Run{Hub: secret, Devices: 1}).Text(); !errors.Is(err, quick.ErrSecret) || len(text) > 0 {
		t.Errorf("a connection string without a variable: %v", err)
	}
}

// What is printed is the run: decoded, it is the very scenario, with overrides too, and it has no secret.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := quick.Run{
			Hub: rapid.SampledFrom([]string{"", "embedded", "mqtt://127.0.0.1:1883", secret}).Draw(t, "hub"), HubVariable: "TWINFLEET_HUB",
			Devices: rapid.IntRange(1, 100_000).Draw(t, "devices"), Every: rapid.SampledFrom([]string{"", "1s", "~5s", "5s..10s"}).Draw(t, "every"),
			Duration: time.Duration(rapid.IntRange(4, 100_000_000).Draw(t, "ms")) * time.Millisecond,
		}
		broker := strings.HasPrefix(r.Hub, "mqtt")
		if !broker {
			r.Tags = rapid.SliceOfNDistinct(rapid.StringMatching(`(tags\.)?[a-c]\.[a-z]{1,5}=[ -~]{0,20}`), 0, 3, func(s string) string {
				name, _, _ := strings.Cut(strings.TrimPrefix(s, "tags."), "=")
				return name
			}).Draw(t, "tags")
			r.Queries = rapid.SliceOfN(rapid.SampledFrom([]string{"SELECT * FROM devices", "SELECT deviceId FROM devices WHERE tags.a = '${x}: #'"}), 0, 2).Draw(t, "queries")
		}
		r.Thresholds = rapid.SliceOfN(rapid.SampledFrom([]string{"p(95) < 250ms", "connect: error_rate < 1%", "connect: p(99) < 1s", "devices: connected > 0"}), 0, 3).Draw(t, "thresholds")
		text, err := r.Text()
		if err != nil {
			t.Fatal(err)
		}
		var set []string
		if rapid.Bool().Draw(t, "more") {
			set = []string{"fleet.groups.fleet.count=7", "seed=5"}
		}
		one, err := scenario.Decode("a.yaml", text, scenario.Options{Lookup: lookup, Set: set})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if strings.Contains(string(one.Source), "a2V5") || strings.Contains(string(text), "a2V5") {
			t.Fatalf("it has the key:\n%s", one.Source)
		}
		two, err := scenario.Decode("a.yaml", one.Source, scenario.Options{Lookup: lookup})
		if err != nil {
			t.Fatalf("%v\n%s", err, one.Source)
		}
		if string(one.Source) != string(two.Source) {
			t.Fatalf("%s\nbecomes\n%s", one.Source, two.Source)
		}
		if got, want := two.Stages[0].Duration+two.Stages[1].Duration, r.Duration; got != want || two.Devices() != one.Devices() {
			t.Fatalf("it lasts %s with %d devices; want %s and %d", got, two.Devices(), want, one.Devices())
		}
		for _, sc := range []*scenario.Scenario{one, two} {
			sc.Source = nil
			sc.Warnings = nil // of places
		}
		if !reflect.DeepEqual(plain(one), plain(two)) {
			t.Fatalf("%+v\nbecomes\n%+v", plain(one), plain(two))
		}
	})
}

// plain is all of a scenario that has no places of a file.
func plain(s *scenario.Scenario) []any {
	g := s.Fleet.Groups[0]
	all := []any{s.Name, s.Seed, s.Target.Hub, s.Target.Kind, len(s.Fleet.Groups), g.Name, g.Count, g.Report, g.Telemetry.Every, g.Telemetry.Gaps, s.Service, s.Thresholds}
	for i := range s.Stages {
		t := &s.Stages[i]
		all = append(all, t.Name, t.Duration, t.Devices, t.ReportRate, t.TelemetryRate, t.ConnectRate)
	}
	return all
}

// Whatever stands in the flags, it is refused or means itself in the scenario.
func FuzzText(f *testing.F) {
	f.Add("embedded", "30s", "plant=Redmond43", "SELECT * FROM devices", "p(95) < 1s")
	f.Add("mqtt://h", "~1s", "a.b=\"x", "'", "connect: rate > 1/s")
	f.Add("${X}", "- a", "tags.x={a: 1}", "${Y:-z}", "a: b: c")
	f.Fuzz(func(t *testing.T, hub, every, tag, sql, threshold string) {
		r := quick.Run{Hub: hub, HubVariable: "TWINFLEET_HUB", Devices: 1, Every: every, Tags: []string{tag}, Queries: []string{sql}, Thresholds: []string{threshold}}
		text, err := r.Text()
		if err != nil {
			return
		}
		sc, err := scenario.Decode("quick.yaml", text, scenario.Options{Lookup: lookup})
		if err != nil {
			return
		}
		if len(sc.Service.Queries) == 1 && sc.Service.Queries[0].SQL != sql {
			t.Errorf("the query %q became %q", sql, sc.Service.Queries[0].SQL)
		}
		if hub != "" && sc.Target.Hub != hub && sc.Target.Hub != secret {
			t.Errorf("the hub %q became %q", hub, sc.Target.Hub)
		}
	})
}
