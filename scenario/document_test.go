package scenario_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/scenario"
)

// What is sent is what is written: members in their order, dates and numbers as they stand.
func TestDocumentsAreAsWritten(t *testing.T) {
	const object = `{z: 1, date: 2026-01-02, at: 2026-01-02T03:04:05Z, a: {y: 1.50, b: ~}, n: [0x10, 1e3, -0.0, .5, 0.12345678901234567890], yes: true, text: "2026", 5: five, plain: 1.2.3}`
	const want = `{"z":1,"date":"2026-01-02","at":"2026-01-02T03:04:05Z","a":{"y":1.50,"b":null},"n":[16,1e3,-0.0,0.5,0.12345678901234567890],"yes":true,"text":"2026","5":"five","plain":"1.2.3"}`
	s, err := scenario.Decode("x.yaml", []byte(`
fleet: {groups: [{name: robots, reported: {connectivity: {type: wifi}, properties: `+object+`}, telemetry: {every: 1s, payload: `+object+`}}]}
stages: [{name: s, devices: 1, steps: [{tag: {group: robots, tags: `+object+`}}, {desired: {group: robots, properties: `+object+`}}]}]
service:
  tags: {robots: `+object+`}
  rollouts: [{name: r, group: robots, properties: `+object+`}]
  methods: [{name: m, group: robots, method: m, rate: 1/s, payload: `+object+`}]
  jobs: [{name: j, type: twin, tags: `+object+`, desired: `+object+`}, {name: k, type: method, method: {name: m, payload: `+object+`}}]
`), options())
	if err != nil {
		t.Fatal(err)
	}
	g, v := s.Group("robots"), &s.Service
	render := func(p *payload.Template) string {
		return string(p.Append(nil, &payload.Context{Now: time.Now(), Rand: rand.New(rand.NewPCG(1, 1))}))
	}
	for where, got := range map[string]string{
		"telemetry": render(g.Telemetry.Payload), "reported": render(g.Report.Properties), "tags": string(v.Tags["robots"]),
		"a step's tags": string(s.Stages[0].Steps[0].Tag.Tags), "a step's desired": string(s.Stages[0].Steps[1].Desired.Properties),
		"a rollout": string(v.Rollouts[0].Properties), "a method": string(v.Methods[0].Payload), "a job's tags": string(v.Jobs[0].Tags),
		"a job's desired": string(v.Jobs[0].Desired), "a job's method": string(v.Jobs[1].Method.Payload),
	} {
		if got != want {
			t.Errorf("%s: %s; want %s", where, got, want)
		}
	}
}

// What a message holds is what is written, in each form that there is.
func TestContent(t *testing.T) {
	rest := func(n int) string { return strings.Repeat("x", n) }
	for keys, want := range map[string]string{
		"every: 1s":               "{}",
		"payload: {b: 1, a: 2}":   `{"b":1,"a":2}`,
		"payload: [1.50, {a: ~}]": `[1.50,{"a":null}]`,
		"payload: []":             "[]",
		"payload: hot":            "hot",
		`payload: ""`:             "",
		"payload: 21.50":          "21.50",
		"payload: 0x10":           "0x10",
		"payload: yes":            "yes",
		"payload: true":           "true",
		"payload: 2026-01-02":     "2026-01-02",
		"payload: 't={{ uniform 5 5 }};n={{ seq }}'":         "t=5;n=3",
		`payload: "{\"n\": {{ seq }}}"`:                      `{"n": 3}`,
		"payload: {n: '{{ index }}', g: '{{ group }}'}":      `{"n":4,"g":"robots"}`,
		"payload: ['{{ int 5 5 }}', 'a {{ int 5 5 }}']":      `[5,"a 5"]`,
		"payload_file: testdata/rows.csv":                    `{"temperature":21.5,"on":true}`,
		"payload_bytes: {file: frame.bin}":                   "\x00\x01\xff",
		"payload_bytes: {zero: 3B}":                          "\x00\x00\x00",
		"payload_bytes: {file: frame.bin}, payload_size: 5B": "\x00\x01\xff\x00\x00",
		"payload_size: 40B":                                  `{"_filler":"` + rest(26) + `"}`,
		"payload: {a: 1}, payload_size: 40B":                 `{"a":1,"_filler":"` + rest(20) + `"}`,
		"payload: [1], payload_size: 5B":                     "[1  ]",
		"payload: hot, payload_size: 5B":                     "hot  ",
		"payload: '{}', payload_size: 5B":                    "{}   ",
		"payload_file: testdata/rows.csv, payload_size: 50B": `{"temperature":21.5,"on":true,"_filler":"` + rest(7) + `"}`,
		`data: testdata/rows.csv, payload: {t: '{{ data "temperature" }}', o: 'is {{ data on }}'}`: `{"t":21.5,"o":"is true"}`,
		`payload: 't={{ data temperature }}', data: testdata/rows.csv`:                             "t=21.5",
	} {
		s, err := scenario.Decode("x.yaml", []byte("fleet: {groups: [{name: robots, telemetry: {"+keys+"}}]}\nstages: [{name: s, devices: 1}]\n"), options())
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		got, source := []byte("{}"), s.Fleet.Groups[0].Telemetry.Source()
		if source != nil {
			got = source.Append(nil, &payload.Context{Group: "robots", Number: 4, Index: 0, Seq: 3, Now: time.Now(), Rand: rand.New(rand.NewPCG(1, 1))})
		}
		if string(got) != want {
			t.Errorf("%s sends %q; want %q", keys, got, want)
		}
		if object := strings.HasPrefix(want, "{") && !strings.Contains(keys, "payload: '") && !strings.Contains(keys, `payload: "`); payload.Objects(source) != object {
			t.Errorf("%s sends objects always: %v; want %v", keys, payload.Objects(source), object)
		}
	}
}
