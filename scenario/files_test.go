package scenario_test

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/scenario"
)

// All files are found beside the scenario, and one that is only in the working directory is told of.
func TestFilesAreBesideTheScenario(t *testing.T) {
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	cert := append([]byte("\ufeff"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})...)
	beside, here := t.TempDir(), t.TempDir()
	t.Chdir(here)
	for name, b := range map[string][]byte{
		filepath.Join(beside, "ca.pem"): cert, filepath.Join(here, "only-here.pem"): cert, filepath.Join(beside, "empty.pem"): nil,
		filepath.Join(beside, "rows.csv"): []byte("a\n1\n"), filepath.Join(beside, "devices.csv"): []byte("HostName=h;DeviceId=d-1;SharedAccessKey=aHVzaC1odXNo\n"),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	decode := func(ca string) (*scenario.Scenario, error) {
		text := "target: {hub: \"HostName=h;SharedAccessKeyName=o;SharedAccessKey=aHVzaC1odXNo\", ca: " + ca + "}\n" +
			"fleet: {groups: [{name: robots, identity: {file: devices.csv}, telemetry: {every: 1s, payload_file: rows.csv}}]}\nstages: [{name: s, devices: 1}]\n"
		return scenario.Decode(filepath.Join(beside, "x.yaml"), []byte(text), scenario.Options{})
	}
	for _, ca := range []string{"ca.pem", filepath.Join(here, "only-here.pem")} {
		if s, err := decode(ca); err != nil || len(s.Target.Trusted) != 1 || !s.Target.Trusted[0].Equal(a.Certificate()) {
			t.Errorf("target.ca %s: %v", ca, err)
		}
	}
	for ca, want := range map[string]string{
		"only-here.pem": "there is one in the working directory: write " + filepath.Join(here, "only-here.pem"),
		"nowhere.pem":   "the file cannot be read", "empty.pem": "empty.pem: there is no certificate in PEM form", ".": "is no regular file",
	} {
		if _, err := decode(ca); err == nil || !strings.Contains(err.Error(), "x.yaml:1:") || !strings.Contains(err.Error(), "target.ca: ") ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("target.ca %s: %v; want %s", ca, err, want)
		}
	}
}
