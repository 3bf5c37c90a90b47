package scenario_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/scenario"
)

// What our parser does not understand, another hub may: of a query for one it is a warning, for the embedded hub a
// mistake. What every hub understands is neither.
func TestQueriesOfOtherHubs(t *testing.T) {
	const others = `target: {hub: "HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=="}`
	for sql, warned := range map[string]bool{
		"SELECT deviceId AS D, statusUpdatedTime AS S FROM devices":            true,
		"SELECT * FROM devices WHERE WIBBLE(tags.a, 1)":                        true,
		"SELECT * FROM devices ORDER BY deviceId":                              true,
		"SELECT deviceId FROM devices WHERE array_contains(parentScopes, 'x')": false,
		"select * from devices.modules where devices.deviceId = 'x'":           false,
		"SELECT * FROM devices WHERE tags.a = 'O''Brien'":                      false,
	} {
		for _, target := range []string{others, `target: {hub: embedded}`} {
			text := fmt.Sprintf(`
fleet: {groups: [{name: robots, count: 10, reported: {connectivity: {type: wifi}}}]}
stages: [{name: hold, duration: 10s, devices: 10, steps: [{query: {sql: %q}}]}]
service: {queries: [{name: q, sql: %q}], jobs: [{name: j, type: twin, tags: {a: 1}, query: "tags.a ="}]}
%s`, sql, sql, target)
			s, err := scenario.Decode("x.yaml", []byte(text), options())
			if target != others {
				if n := strings.Count(fmt.Sprint(err), "the query is wrong"); err == nil || n > 0 != warned {
					t.Errorf("%s on the embedded hub: %v", sql, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s on another hub: %v", sql, err)
				continue
			}
			var found []string
			for _, w := range s.Warnings {
				found = append(found, w.Path)
			}
			want := "service.jobs[0].query"
			if warned {
				want = "stages[0].steps[0].query.sql service.queries[0].sql " + want
			}
			if got := strings.Join(found, " "); got != want {
				t.Errorf("%s: warnings at %q; want %q", sql, got, want)
			}
			if len(s.Warnings) > 0 && s.Warnings[0].Line == 0 {
				t.Errorf("%s: the warning has no place: %v", sql, s.Warnings[0])
			}
		}
	}
}

// What a run cannot tell of deliveries and requests, and another program may make good, is a warning.
func TestWarningsOfBrokers(t *testing.T) {
	for groups, want := range map[string]string{
		`{name: p, telemetry: {every: 1s, topic: a, deliveries: 1}}, {name: q, count: 2, subscribe: {topics: [a]}}`:                                                         "by their topics 2 subscribers get each message, and 1 are waited for",
		`{name: p, telemetry: {every: 1s, topic: a, deliveries: all}}, {name: q, count: 2, subscribe: {topics: [a]}}`:                                                       "",
		`{name: p, telemetry: {every: 1s, topic: a, mqtt5: {reply_to: "r/{device}"}}}`:                                                                                      "no group of this run responds",
		`{name: p, telemetry: {every: 1s, topic: a, mqtt5: {reply_to: "r/{device}"}}}, {name: q, subscribe: {topics: [a], respond: true}}`:                                  "",
		`{name: p, telemetry: {every: 1s, topic: a, retain: true, deliveries: all}}, {name: q, subscribe: {topics: [a], retain_as_published: true, retain_handling: none}}`: "",
		`{name: p, telemetry: {every: 1s, topic: a, payload_size: 1KiB, deliveries: all}}, {name: q, subscribe: {topics: [a]}, mqtt5: {maximum_packet: 2048}}`:              "",
		// of the devices that are asked first none is heard
		`{name: p, count: 3000, telemetry: {every: 1h, topic: "a/{index}", deliveries: 1}}, {name: q, subscribe: {topics: [a/000001]}}`:                                                                                               "",
		`{name: p, count: 3000, telemetry: {every: 1h, topic: "a/{index}", deliveries: all}}, {name: q, subscribe: {topics: [a/000001]}}`:                                                                                             "",
		`{name: p, telemetry: {every: 1s, topic: a, deliveries: all}}, {name: q, count: 100001, subscribe: {topics: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t]}}`:                                                   "nobody reckons beforehand who gets a message",
		`{name: p, telemetry: {every: 1s, topic: a, mqtt5: {reply_to: "r/{device}"}}}, {name: q, subscribe: {topics: [b], respond: true}}`:                                                                                            "no group of this run that responds subscribes to a",
		`{name: p, telemetry: {every: 1s, topic: a, mqtt5: {expiry: 5s}, deliveries: all}}, {name: q, subscribe: {topics: [a]}, session: {clean: false}}`:                                                                             "they count as lost",
		`{name: p, telemetry: {every: 1s, topic: a, mqtt5: {expiry: 5s}, deliveries: all}}, {name: q, subscribe: {topics: [a]}}`:                                                                                                      "",
		`{name: p, telemetry: {every: 1s, topic: a, mqtt5: {expiry: 30s}, deliveries: all}}, {name: q, subscribe: {topics: [a]}, session: {clean: false}}`:                                                                            "",
		`{name: p, telemetry: {every: 1s, topic: a, mqtt5: {reply_to: "r/{index}"}}}, {name: q, subscribe: {topics: [a], respond: true}, first_index: 1, messages: [{name: x, every: 1s, topic: a, mqtt5: {reply_to: "r/{index}"}}]}`: "",
		`{name: p, will: {topic: a, delay: 5s}, session: {clean: false, expiry: 5s}}`:                                                                                                                                                 "",
	} {
		text := fmt.Sprintf("target: {hub: \"mqtt://127.0.0.1\", mqtt: 5}\nfleet: {groups: [%s]}\nstages: [{name: s, devices: 100%%, duration: 10s}]\n", groups)
		s, err := scenario.Decode("x.yaml", []byte(text), options())
		if err != nil {
			t.Errorf("%s: %v", groups, err)
			continue
		}
		if got := fmt.Sprint(s.Warnings); want == "" && len(s.Warnings) > 0 || !strings.Contains(got, want) {
			t.Errorf("%s: warnings %s; want %q", groups, got, want)
		}
	}
}
