package scenario_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/twinfleet/twinfleet/scenario"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func options(set ...string) scenario.Options {
	environment := map[string]string{"KEY": "aHVzaC1odXNo", "NAME": "from-environment", "COUNT": "7"}
	return scenario.Options{
		Set:      set,
		Lookup:   func(name string) (string, bool) { v, ok := environment[name]; return v, ok },
		ReadFile: readFile,
	}
}

// readFile is the files that scenarios of these tests name.
func readFile(name string) ([]byte, error) {
	row := func(hub, id string) string {
		return "HostName=" + hub + ";DeviceId=" + id + ";SharedAccessKey=aHVzaC1odXNo\n"
	}
	text, ok := map[string]string{
		"two.csv":     "connection_string\n" + row("h", "d-1") + row("h", "d-2"),
		"robot.csv":   row("h", "robots-000001"),
		"bad.csv":     "connection_string\n" + row("h", "d-1") + "HostName=h;SharedAccessKey=aHVzaC1odXNo\n" + row("h", "d-1"),
		"none.csv":    "",
		"latin-1.csv": "connection_string\n" + row("h", "gr\xf6n"),
		"wild.csv":    "connection_string\n" + row("h", "d-1") + row("h", "d+2"),
		"frame.bin":   "\x00\x01\xff", "large.bin": strings.Repeat("x", scenario.LargestMessage+1), "300k.bin": strings.Repeat("x", 300<<10),
		"mixed.jsonl": "{\"a\":1}\n[1,2]\n", "reserved.jsonl": "{\"_delivery\":\"x\"}\n{\"a\":1}\n", "filler.jsonl": "{\"a\":1}\n{\"_filler\":\"x\"}\n",
		"ca.pem": "aHVzaC1odXNo", "ca.key": "aHVzaC1odXNo",
	}[name]
	switch dir := filepath.Dir(name); {
	case ok:
		return []byte(text), nil
	case dir == "testdata", dir == "../configs/scenarios", name == "missing.csv", name == "rows.jsonl": // rows
		return os.ReadFile(name)
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Every mistake is reported at once, each with its place and what would be right.
func TestBrokenScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/broken*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no broken scenarios: %v", err)
	}
	for _, path := range files {
		brokenScenarios(t, path)
	}
}

// brokenScenarios checks one archive of scenarios, each followed by what is said of it.
func brokenScenarios(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		in, want := archive.Files[i], &archive.Files[i+1]
		s, err := scenario.Decode(in.Name, in.Data, options())
		if err == nil {
			t.Errorf("%s was accepted: %+v", in.Name, s)
			continue
		}
		got := err.Error() + "\n"
		if strings.Contains(got, "aHVzaC1odXNo") || strings.Contains(got, "hush@") {
			t.Errorf("%s: the message holds a secret: %s", in.Name, got)
		}
		if *update {
			want.Data = []byte(got)
		} else if got != string(want.Data) {
			t.Errorf("%s:\n%swant:\n%s", in.Name, got, want.Data)
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExamplesAreValid(t *testing.T) {
	files, err := filepath.Glob("../configs/scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range files {
		o := options()
		o.Lookup = func(name string) (string, bool) {
			return map[string]string{"TWINFLEET_BROKER": "mqtt://127.0.0.1:1883"}[name], name == "TWINFLEET_BROKER"
		}
		s, err := scenario.Load(f, o)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := strings.TrimSuffix(filepath.Base(f), ".yaml"); s.Name != want {
			t.Errorf("%s is named %s", f, s.Name)
		}
	}
}

// The scenario that the design was written around: a threshold on freshness is enough to measure it.
func TestDesignIsValid(t *testing.T) {
	s, err := scenario.Load("testdata/design.yaml", options())
	if err != nil {
		t.Fatal(err)
	}
	if f := s.Service.Freshness; f == nil || f.Sample != 200 || f.Probe != 5*time.Second || !f.Verify {
		t.Errorf("freshness = %+v; want the defaults of a hub with a tier, for a threshold asks for it", f)
	}
	s, err = scenario.Load("testdata/design.yaml", options("target={hub: embedded}"))
	if err != nil || s.Service.Freshness.Probe != 500*time.Millisecond {
		t.Errorf("%v; without limits freshness = %+v; want a probe of 500ms", err, s.Service.Freshness)
	}
}

func TestExpectations(t *testing.T) {
	for text, met := range map[string][3]bool{ // by 9, 10 and 11 items
		"10": {false, true, false}, "== 10": {false, true, false}, "= 10": {false, true, false}, "!=10": {true, false, true},
		"< 10": {true, false, false}, "<= 10": {true, true, false}, "> 10": {false, false, true}, ">= 1_0": {false, true, true},
	} {
		s, err := scenario.Decode("x.yaml", []byte(valid+"service: {queries: [{name: q, expect: \""+text+"\", sql: SELECT * FROM devices}]}"), options())
		if err != nil {
			t.Error(err)
			continue
		}
		for i, want := range met {
			if got := s.Query("q").Expect.Met(9 + i); got != want {
				t.Errorf("%q of %d items = %v; want %v", text, 9+i, got, want)
			}
		}
	}
}

const valid = `
name: ${NAME}
seed: 9
fleet:
  groups:
    - {name: robots, count: "${COUNT}", reported: {connectivity: {type: {cellular: 60, wifi: 40}}, every: 30s}}
    - {name: gates, count: 2, id: "gate-{index}", backoff: none}
stages:
  - {name: ramp, duration: 1m, devices: 9, report_rate: 0/s..120/m}
`

func TestDecode(t *testing.T) {
	s, err := scenario.Decode("x.yaml", []byte(valid), options())
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "from-environment" || s.Seed != 9 || s.Devices() != 9 {
		t.Errorf("name %q, seed %d, %d devices", s.Name, s.Seed, s.Devices())
	}
	g := s.Group("robots")
	if g == nil || g.Count != 7 || g.Report.Every != 30*time.Second || len(g.Report.Types) != 2 || g.DeviceID(3) != "robots-000003" {
		t.Errorf("robots = %+v", g)
	}
	if r := s.Stages[0].ReportRate; r == nil || r.From != 0 || r.To != 2 {
		t.Errorf("report_rate = %+v; want 0 to 2 a second", r)
	}
}

// Files are found beside the scenario, and groups that listen do not take their turns in a rate of messages.
func TestBrokerScenario(t *testing.T) {
	o := options()
	o.Lookup = func(string) (string, bool) { return "mqtt://127.0.0.1:1883", true }
	s, err := scenario.Load("../configs/scenarios/broker-delivery.yaml", o)
	if err != nil {
		t.Fatal(err)
	}
	g := s.Group("sensors")
	if r := g.Telemetry.Rows; r == nil || r.Len() != 48 || string(r.Row(0)) != `{"temperature":21.0,"humidity":45,"door":false,"site":"Redmond 44"}` {
		t.Errorf("rows = %+v", r)
	}
	if got := g.Fill("{group}/{device}/{index}", g.DeviceID(7), 7); got != "sensors/sensors-000007/000007" {
		t.Errorf("filled %q", got)
	}
	if got := s.Rated(false); len(got) != 1 || got[0] != "sensors" {
		t.Errorf("a rate of messages is dealt to %v; want the sensors", got)
	}
	if c := s.Stages[0].ConnectCurve(2); c.Integral(c.Total()) < 200 || c.Total() > 4010*time.Millisecond {
		t.Errorf("from 2 to 202 devices at 50/s: %v", c)
	}
}

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		set   string
		check func(s *scenario.Scenario) bool
	}{
		{"seed=77", func(s *scenario.Scenario) bool { return s.Seed == 77 }},
		{"fleet.groups.robots.count=3", func(s *scenario.Scenario) bool { return s.Group("robots").Count == 3 }},
		{"fleet.groups[1].count=3", func(s *scenario.Scenario) bool { return s.Group("gates").Count == 3 }},
		{"stages.ramp.duration=5s", func(s *scenario.Scenario) bool { return s.Stages[0].Duration == 5*time.Second }},
		{"target.tier=S2", func(s *scenario.Scenario) bool { return s.Target.Tier == "S2" }},
		{"fleet.groups.robots.reported.connectivity.type={lan: 1}", func(s *scenario.Scenario) bool { return s.Group("robots").Report.Types[0].Name == "lan" }},
		{"description=a = b", func(s *scenario.Scenario) bool { return s.Description == "a = b" }},
	} {
		s, err := scenario.Decode("x.yaml", []byte(valid), options(tt.set, "stages.ramp.devices=3"))
		if err != nil {
			t.Errorf("--set %s: %v", tt.set, err)
		} else if !tt.check(s) {
			t.Errorf("--set %s had no effect", tt.set)
		}
	}
	for set, want := range map[string]string{
		"stages.ramp.devices.gates=2": "stages.ramp.devices is a single value; set it whole, as in stages.ramp.devices={gates: …}",
		"seed":                        "write --set key=value",
		"fleet.groups.robot.count=3":  "did you mean robots?",
		"fleet.gruops.robots.name=x":  "unknown key; did you mean groups?",
		"fleet.groups.robots.nmae=x":  "unknown key; did you mean name?",
		"seed=many":                   `"many" is not a whole number`,
	} {
		if _, err := scenario.Decode("x.yaml", []byte(valid), options(set)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v; want %s", set, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(valid))
	files, _ := filepath.Glob("../configs/scenarios/*.yaml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	archive, err := txtar.ParseFile("testdata/broken.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(archive.Files); i += 2 {
		f.Add(archive.Files[i].Data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := scenario.Decode("fuzz.yaml", b, options())
		switch {
		case err == nil && (s.Devices() < 1 || len(s.Stages) == 0):
			t.Errorf("accepted without devices or stages: %q", b)
		case err != nil && err.Error() == "":
			t.Errorf("refused without a word: %q", b)
		}
	})
}

// A file's name becomes one that labels, addresses and folders can have, the same everywhere.
func TestNameOfFile(t *testing.T) {
	for file, want := range map[string]string{
		"dir/smoke.yaml": "smoke", "smoke_2.1.yaml": "smoke_2.1", "My Scenario.yaml": "My-Scenario", "caf\xe9.yaml": "caf", "caf\xe9-1.yml": "caf--1",
		"größe.yaml":        "gr--e",
		"a\nb\x1b[31m.yaml": "a-b--31m", "...yaml": "scenario", " .yaml": "scenario", strings.Repeat("x", 200) + ".yaml": strings.Repeat("x", 60),
		"a|b\"c`d.yaml": "a-b-c-d",
	} {
		s, err := scenario.Decode(file, []byte("fleet: {groups: [{name: robots}]}\nstages: [{name: s, duration: 1s}]\n"), scenario.Options{})
		if err != nil || s.Name != want {
			t.Errorf("%q: %v, %v; want %s", file, s, err, want)
		}
	}
}

// What a record keeps of a scenario has the overrides and none of the secrets.
func TestSourceHidesSecrets(t *testing.T) {
	const key = "dG9wc2VjcmV0"
	for name, target := range map[string]string{
		"a connection string":  `{hub: "HostName=h.example;SharedAccessKeyName=o;SharedAccessKey=` + key + `"}`,
		"from the environment": `{hub: "${HUB}"}`,
		"a password":           `{hub: "mqtt://h.example", username: u, password: ` + key + `}`,
		"a token in a query":   `{hub: "wss://h.example/mqtt?token=` + key + `&x=` + key + `"}`,
		"a query of one value": `{hub: "wss://h.example/mqtt?` + key + `"}`,
		"half a token":         `{hub: "wss://h.example/mqtt?token=${NAME:-` + key + `}x"}`,
		"a default":            `{hub: "mqtt://h.example", username: u, password: "${NAME:-` + key + `}"}`,
		"half a password":      `{hub: "mqtt://h.example", username: u, password: "${NAME:-` + key + `}x"}`,
	} {
		text := "target: " + target + "\nfleet: {groups: [{name: robots, telemetry: {every: 1s}}]}\nstages: [{name: s, duration: 1s}]\n"
		s, err := scenario.Decode("x.yaml", []byte(text), scenario.Options{Set: []string{"seed=77"}, Lookup: func(string) (string, bool) {
			return "HostName=h.example;SharedAccessKeyName=o;SharedAccessKey=" + key, true
		}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := string(s.Source); strings.Contains(got, key) || !strings.Contains(got, "seed: 77") || !strings.Contains(got, "h.example") &&
			!strings.Contains(got, "${HUB}") {
			t.Errorf("%s: %s", name, got)
		}
		if _, err := scenario.Decode("x.yaml", s.Source, scenario.Options{Lookup: func(string) (string, bool) { return "embedded", true }}); err != nil &&
			!strings.Contains(err.Error(), "target") {
			t.Errorf("%s: what was kept is no scenario: %v", name, err)
		}
	}
}

// A file without an end is no scenario: only so much of it is read.
func TestLoadIsBounded(t *testing.T) {
	if _, err := scenario.Load("/dev/zero", options()); err == nil || !strings.Contains(err.Error(), "/dev/zero is no regular file but a device") {
		t.Errorf("%v; want that it is no file", err)
	}
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#"), 4<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := scenario.Load(large, options()); err == nil || !strings.Contains(err.Error(), "more than 4194304 bytes") {
		t.Errorf("%v; want that the file is too large", err)
	}
}
