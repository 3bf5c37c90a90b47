package scenario

import (
	"strings"
	"testing"
)

const atAzure = "target: {hub: \"HostName=h.azure-devices.net;SharedAccessKeyName=o;SharedAccessKey=a2V5\"}\n" +
	"fleet: {groups: [{name: robots, count: 1000, identity: {dps: {scope: 0ne1, group_key: MDEyMzQ1Njc4OWFiY2RlZg==}}}]}\n"

// Devices that provision at Azure come at no more than 15 a second, unless the stage says how fast, or spreads them further anyway.
func TestPaceOfProvisioning(t *testing.T) {
	const elsewhere = "fleet.groups.robots.identity.dps.endpoint=dps.example:8883"
	for _, tt := range []struct {
		stage string
		set   []string
		want  float64 // devices a second; 0 for none
	}{
		{"{name: s, devices: 100%, steps: [{await: {connected: 100%}}]}", nil, 15},
		{"{name: s, devices: 100%, duration: 70s}", nil, 0},
		{"{name: s, devices: 100%, duration: 60s, connect_rate: 50/s}", nil, 50},
		{"{name: s, devices: 100%, duration: 100s}", nil, 0},
		{"{name: s, duration: 1s}", nil, 0},
		{"{name: s, devices: 100%, steps: [{await: {connected: 100%}}]}", []string{elsewhere}, 0},
		{"{name: s, devices: 15000, duration: 1000s}", []string{"fleet.groups.robots.count=15000"}, 0},
	} {
		s, err := Decode("test.yaml", []byte(atAzure+"stages: ["+tt.stage+"]\n"), Options{Set: tt.set})
		if err != nil {
			t.Errorf("%s: %v", tt.stage, err)
			continue
		}
		switch r := s.Stages[0].ConnectRate; {
		case r == nil && tt.want == 0:
		case r == nil || r.From != tt.want || r.To != tt.want:
			t.Errorf("%s %v: %+v; want %g/s", tt.stage, tt.set, r, tt.want)
		}
	}
}

func TestEndpointOfProvisioning(t *testing.T) {
	for text, want := range map[string]string{
		"": "global.azure-devices-provisioning.net:8883 true", "Mine.Azure-Devices-Provisioning.us": "Mine.Azure-Devices-Provisioning.us:8883 true",
		"localhost:443": "localhost:443 false", "dps.example": "dps.example:8883 false", "\"[::1]:8884\"": "[::1]:8884 false", "\"::1\"": "[::1]:8883 false",
	} {
		at := strings.Replace(atAzure, "scope:", "endpoint: "+text+", scope:", 1)
		if text == "" {
			at = atAzure
		}
		d := decodeDefaults(t, at+"stages: [{name: s, duration: 1s}]").Fleet.Groups[0].Identity.DPS
		got := d.Address() + " false"
		if d.Azure() {
			got = d.Address() + " true"
		}
		if got != want || d.Scope != "0ne1" {
			t.Errorf("%q is %s of %s; want %s", text, got, d.Scope, want)
		}
	}
}

// A group's key shows nowhere.
func TestGroupKeyIsSecret(t *testing.T) {
	const key, stages = "MDEyMzQ1Njc4OWFiY2RlZg==", "stages: [{name: s, duration: 1s}]"
	s, err := Decode("test.yaml", []byte(strings.Replace(atAzure, key, "\"${TWINFLEET_DPS_KEY}\"", 1)+stages), Options{
		Lookup: func(name string) (string, bool) { return key, name == "TWINFLEET_DPS_KEY" },
	})
	if err != nil {
		t.Fatal(err)
	}
	if source := string(s.Source); !strings.Contains(source, "${TWINFLEET_DPS_KEY}") {
		t.Errorf("the scenario as it runs does not name the variable: %s", source)
	}
	for _, set := range [][]string{nil, {"fleet.groups.robots.identity.dps.group_key=" + key}} {
		s, err := Decode("test.yaml", []byte(atAzure+stages), Options{Set: set})
		if err != nil || strings.Contains(string(s.Source), key) {
			t.Errorf("%v; the scenario as it runs holds the key:\n%s", err, s.Source)
		}
	}
	read := s.Fleet.Groups[0].Identity.DPS.Key
	if text := read.String(); text != redacted || read.Reveal() != key {
		t.Errorf("the key prints as %s", text)
	}
}
