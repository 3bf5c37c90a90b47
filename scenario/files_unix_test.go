//go:build unix

package scenario_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twinfleet/twinfleet/scenario"
)

// A pipe that nobody writes is waited for by no key that names a file, nor as the scenario itself: each says what it is.
func TestPipesAreNotWaitedFor(t *testing.T) {
	const hub, broker = "HostName=h;SharedAccessKeyName=o;SharedAccessKey=aHVzaC1odXNo", "mqtts://h"
	dir := t.TempDir()
	for _, name := range []string{"pipe", "pipe.csv", "pipe.pem", "pipe.yaml"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ target, keys string }{
		{hub, "target.ca=pipe.pem"},
		{hub, "fleet.groups.g.identity={file: pipe.csv}"},
		{hub, "fleet.groups.g.identity={x509: {ca: pipe.pem, key: pipe}}"},
		{hub, "fleet.groups.g.telemetry={every: 1s, payload_file: pipe.csv}"},
		{hub, "fleet.groups.g.telemetry={every: 1s, data: pipe.csv, payload: {a: \"{{ column \\\"a\\\" }}\"}}"},
		{hub, "fleet.groups.g.telemetry={every: 1s, payload_bytes: {file: pipe}}"},
		{broker, "fleet.groups.g.identity={credentials: pipe.csv}"},
		{broker, "fleet.groups.g.identity={x509: {certificate: pipe.pem, key: pipe}}"},
		{broker, "fleet.groups.g.identity={x509: {ca: pipe.pem, key: pipe}}"},
		{broker, "fleet.groups.g.telemetry={topic: a, every: 1s, payload_file: pipe.csv}"},
		{broker, "fleet.groups.g.telemetry={topic: a, every: 1s, payload_bytes: {file: pipe}}"},
	} {
		text := "target: {hub: \"" + tt.target + "\"}\nfleet: {groups: [{name: g, count: 1}]}\nstages: [{name: s, devices: 1}]\n"
		_, err := scenario.Decode(filepath.Join(dir, "x.yaml"), []byte(text), scenario.Options{Set: []string{tt.keys}})
		if err == nil || !strings.Contains(err.Error(), "is no regular file but a pipe") {
			t.Errorf("%s: %v; want that it is a pipe", tt.keys, err)
		}
	}
	if _, err := scenario.Load(filepath.Join(dir, "pipe.yaml"), scenario.Options{}); err == nil || !strings.Contains(err.Error(), "is no regular file but a pipe") {
		t.Errorf("the scenario: %v; want that it is a pipe", err)
	}
	empty := func(name string) (string, bool) { return filepath.Join(dir, "pipe"), name == "KEY_FILE" }
	_, err := scenario.Decode("x.yaml", []byte("target: {hub: \"${KEY}\"}\nfleet: {groups: [{name: g, count: 1}]}\nstages: [{name: s, devices: 1}]\n"), scenario.Options{Lookup: empty})
	if err == nil || !strings.Contains(err.Error(), "is no regular file but a pipe") {
		t.Errorf("the file of a variable: %v; want that it is a pipe", err)
	}
}
