package scenario_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/scenario"
)

// What is sent is what is written: members in their order, dates and numbers as they stand.
func TestDocumentsAreAsWritten(t *testing.T) {
	const object = `{z: 1, date: 2026-01-02, at: 2026-01-02T03:04:05Z, a: {y: 1.50, b: ~}, n: [007, 0x10, 1e3, -0.0, .5, 0.12345678901234567890], yes: true, text: "2026", 5: five, plain: 1.2.3}`
	const want = `{"z":1,"date":"2026-01-02","at":"2026-01-02T03:04:05Z","a":{"y":1.50,"b":null},"n":[7,16,1e3,-0.0,0.5,0.12345678901234567890],"yes":true,"text":"2026","5":"five","plain":"1.2.3"}`
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
