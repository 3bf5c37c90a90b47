//go:build integration

package docs

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity/authority"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/test/rig"
)

// block is a fenced code block of a document.
type block struct {
	language, text string
	line           int
}

func blocks(t *testing.T, file string) []block {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var open *block
	for i, line := range strings.Split(string(b), "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{language: fence, line: i + 1}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the code block does not end", file, open.line)
	}
	return all
}

// prelude stands in for what a document's reader has: the program on the path; make and docker, which would
// run this test in itself or need an engine, are held to what they name.
const prelude = `set -euo pipefail
twinfleet() {
	case "$*" in
	"hub"*) command timeout --preserve-status --signal=INT 4 "$BINARY" "$@" ;;
	"run configs/scenarios/connectivity.yaml"*) "$BINARY" "$@" --set stages.ramp.duration=3s --set stages.hold.duration=3s --set 'thresholds={}' ;;
	"capacity "*"--rollout"*) "$BINARY" "$@" ;;
	"capacity "*"--agents"*) "$BINARY" "$@" --set 'target={hub: embedded}' --set stages.ramp.duration=1s --hold 1s --settle 1s --for 20s --no-ui || case $? in 97 | 98) ;; *) false ;; esac ;;
	"capacity"*) "$BINARY" "$@" --set 'target={tier: S1, burst: 1s}' --set stages.ramp.duration=1s --hold 1s --settle 1s --for 30s --no-ui || [ $? -eq 97 ] ;;
	"plan "*"--verify"*) "$BINARY" "$@" --allow-saturated ;;
	"bench"*) "$BINARY" "$@" --only connect --devices 500 ;;
	"run smoke "*) "$BINARY" "$@" --set 'thresholds.twin_report=["error_rate < 0.1%"]' ;;
	*) "$BINARY" "$@" ;;
	esac
}
go() {
	if [ "${1-} ${2-}" = "run ./cmd/twinfleet" ]; then shift 2; twinfleet "$@"; else echo "no such go command in documents: $*" >&2; return 1; fi
}
make() { command make -n -C "$ROOT" "$@" >/dev/null; }
docker() { for word in "$@"; do case "$word" in */*.y*ml) test -f "$ROOT/$word" ;; esac; done; }
`

// readers is the scenario that a document means when it says my-scenario.yaml.
const readers = `
target: {ca: "${TWINFLEET_CA}"}
fleet: {groups: [{name: robots, count: 20, reported: {connectivity: {type: cellular}, every: 1s}}]}
stages: [{name: ramp, duration: 1s, devices: 20}, {name: hold, duration: 1s}]
service: {tags: {robots: {location: {plant: Redmond43}}}}
`

// Every command in a block marked sh ends with success, in a folder with the examples, and with the address
// of a hub in the environment. A yaml block whose first line names a file is that file.
func TestCommands(t *testing.T) {
	binary := rig.Build(t)
	for _, file := range documents(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "configs"), os.DirFS(filepath.Join(rig.Root(), "configs"))); err != nil {
				t.Fatal(err)
			}
			if err := makePatient(filepath.Join(dir, "configs", "scenarios")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "my-scenario.yaml"), []byte(readers), 0o600); err != nil {
				t.Fatal(err)
			}
			environ := append(hubOf(t, binary, dir), "BINARY="+binary, "ROOT="+rig.Root(), "HOME="+dir,
				"TWINFLEET_LISTEN=127.0.0.1:0", "TWINFLEET_METRICS_ADDR=127.0.0.1:0") // the usual ports may be in use
			for _, b := range blocks(t, file) {
				if name, ok := strings.CutPrefix(strings.SplitN(b.text, "\n", 2)[0], "# "); ok && b.language == "yaml" && strings.HasSuffix(name, ".yaml") {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(patient(b.text)), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if b.language != "sh" {
					continue
				}
				p := rig.Start(t, dir, environ, "bash", "-c", prelude+b.text)
				if code := p.Wait(t, 2*time.Minute); code != 0 {
					t.Errorf("line %d: exit code %d\n%s", b.line, code, b.text)
				}
			}
		})
	}
}

// patient is a scenario that takes its latencies from no machine: this one may be busy with other tests.
func patient(text string) string {
	return regexp.MustCompile(`\b(p\([^)]*\)|med|avg|max) < [\d.]+m?s\b`).ReplaceAllString(text, "$1 < 5m")
}

// makePatient does so with all scenarios of a folder.
func makePatient(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(patient(string(b))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(rig.Root(), "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	return append(files, filepath.Join(rig.Root(), "README.md"))
}

// hubOf starts a hub for the commands that name one in the environment.
func hubOf(t *testing.T, binary, dir string) []string {
	t.Helper()
	p := rig.Start(t, dir, nil, binary, "hub", "--json", "--listen", "127.0.0.1:0", "--cert-dir", filepath.Join(dir, "certs"))
	var said struct {
		ConnectionString, CA string
		DPS                  struct{ Endpoint, IDScope, GroupKey string }
	}
	if err := json.Unmarshal([]byte(p.Line(t, "connectionString", 20*time.Second)), &said); err != nil {
		t.Fatal(err)
	}
	return []string{"TWINFLEET_HUB=" + said.ConnectionString, "TWINFLEET_CA=" + said.CA, "TWINFLEET_DPS_ENDPOINT=" + said.DPS.Endpoint, "TWINFLEET_DPS_SCOPE=" + said.DPS.IDScope, "TWINFLEET_DPS_KEY=" + said.DPS.GroupKey}
}

// Every yaml block is a scenario, or a part of one that fits into the usual rest.
func TestScenarios(t *testing.T) {
	for _, file := range documents(t) {
		for _, b := range blocks(t, file) {
			if b.language != "yaml" {
				continue
			}
			if err := decode(b.text); err != nil {
				t.Errorf("%s:%d: %v", filepath.Base(file), b.line, err)
			}
		}
	}
}

// rest is what a part of a scenario is put into, key by key.
var rest = [][2]string{
	{"fleet", "fleet: {groups: [{name: robots, count: 100, reported: {connectivity: {type: {cellular: 1, wifi: 1}}, every: 5s}}]}\n"},
	{"stages", "stages: [{name: ramp, duration: 5s, devices: 100}, {name: hold, duration: 1m}]\n"},
}

// sends is the fleet for a broker, which has no twins to report to.
const sends = "fleet: {groups: [{name: robots, count: 100, telemetry: {every: 5s}}]}\n"

func decode(text string) error {
	broker := regexp.MustCompile(`hub: "?(mqtt|ws)s?://`).MatchString(text)
	for _, part := range rest {
		if !regexp.MustCompile(`(?m)^` + part[0] + `:`).MatchString(text) {
			if broker && part[0] == "fleet" {
				part[1] = sends
			}
			text += part[1]
		}
	}
	authority, err := authority.New()
	if err != nil {
		return err
	}
	_, err = scenario.Decode("block", []byte(text), scenario.Options{
		Lookup: func(name string) (string, bool) {
			return map[string]string{"GROUP_KEY": "c2VjcmV0", "TWINFLEET_DPS_ENDPOINT": "dps.example", "TWINFLEET_DPS_SCOPE": "0ne00000001", "TWINFLEET_DPS_KEY": "MDEyMzQ1Njc4OWFiY2RlZg==", "TWINFLEET_HUB": "HostName=h.example;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0", "TWINFLEET_CA": "ca.pem"}[name], true
		},
		ReadFile: func(name string) ([]byte, error) {
			if filepath.Ext(name) == ".pem" {
				return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}), nil
			}
			if filepath.Base(name) == "sites.csv" {
				return []byte("site\nRedmond43\n"), nil
			}
			return []byte("HostName=h.example;DeviceId=d;SharedAccessKey=c2VjcmV0\n"), nil
		},
	})
	return err
}
