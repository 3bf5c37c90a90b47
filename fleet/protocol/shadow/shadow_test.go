package shadow_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/shadow"
	"github.com/twinfleet/twinfleet/scenario"
)

// The bodies are those of the developer guide.
func TestShadow(t *testing.T) {
	p := shadow.Protocol{}
	m := p.Report(protocol.Device{ID: "lamp"}, "r1", []byte(`{"power":"on"}`))
	if m.Topic != "$aws/things/lamp/shadow/update" || string(m.Payload) != `{"state":{"reported":{"power":"on"}},"clientToken":"r1"}` {
		t.Errorf("%s %s", m.Topic, m.Payload)
	}
	in, ok := p.Parse(link.Message{Topic: "$aws/things/lamp/shadow/update/rejected", Payload: []byte(`{"code":429,"message":"Too Many Requests","clientToken":"r1"}`)})
	if !ok || in.Kind != protocol.Answer || in.RID != "r1" || in.Status != 429 {
		t.Errorf("%+v %t", in, ok)
	}
}

func TestScenario(t *testing.T) {
	sc, err := scenario.Decode("x.yaml", []byte("target: {hub: 'aws://example.iot.local', topic: 't/{device}'}\nfleet: {groups: [{name: a, count: 2, "+
		"reported: {connectivity: {type: wifi}, every: 10s}}]}\nstages: [{name: s, duration: 1s, devices: 2}]\n"), scenario.Options{})
	if err != nil || sc.Target.Can().Service || !sc.Target.Can().Twins {
		t.Errorf("%v", err)
	}
}
