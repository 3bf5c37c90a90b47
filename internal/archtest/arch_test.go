// Package archtest holds the layout of the module to what docs/architecture.md draws:
// which room may import which, and what every room owes its reader.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/twinfleet/twinfleet"

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		all = append(all, p)
	}
}

// within reports whether an import path lies in one of the rooms, named from the module's root.
func within(path string, rooms ...string) bool {
	for _, room := range rooms {
		full := room
		if !strings.Contains(strings.SplitN(room, "/", 2)[0], ".") {
			full = module + "/" + room
		}
		if path == full || strings.HasPrefix(path, full+"/") {
			return true
		}
	}
	return false
}

// TestArrows holds imports to one direction: a room may import only the rooms listed for it.
func TestArrows(t *testing.T) {
	contract := []string{"internal/iothub", "schedule"}
	allowed := map[string][]string{
		"schedule":                  {"schedule"},
		"internal/table":            {},
		"internal/iothub":           {"internal/iothub"},
		"internal/amqp":             {"internal/uuid"},
		"internal/mqtt":             {"internal/mqtt"},
		"internal/hub":              {"internal/hub", "internal/amqp", "internal/iothub", "internal/memnet", "internal/mqtt", "internal/uuid"},
		"internal/uuid":             {},
		"internal/wait":             {},
		"internal/oserr":            {},
		"internal/regular":          {},
		"internal/linediff":         {},
		"internal/memnet":           {"internal/nowait"},
		"internal/nowait":           {},
		"internal/hub/page":         {"internal/httpserve", "internal/hub", "internal/iothub", "report/html"},
		"internal/nearby":           {},
		"internal/hub/events":       {"internal/amqp", "internal/iothub"},
		"internal/hub/eventlog":     {"internal/hub/keep"},
		"internal/hub/consumers":    {},
		"internal/hub/hubmetrics":   {"internal/hub", "internal/iothub", "metrics"},
		"internal/ledger":           {"metrics", "report"},
		"internal/outage":           {"internal/ledger", "metrics", "report"},
		"internal/verdict":          {"internal/verdict/byhand", "internal/verdict/vain", "metrics", "report", "scenario"},
		"internal/verdict/vain":     {"metrics", "report", "scenario"},
		"internal/verdict/byhand":   {"metrics", "report", "scenario"},
		"internal/verdict/standing": {"internal/verdict/byhand", "internal/verdict/vain", "metrics", "report", "scenario"},
		"internal/backend": {
			"internal/backend", "fleet", "internal/identity", "internal/iothub", "internal/ledger", "internal/target",
			"internal/worker", "metrics", "report", "scenario",
		},
		"internal/target":                {"internal/eventhub", "internal/fleet/redirect", "internal/host", "report/human", "internal/nearby", "internal/oserr", "internal/target", "scenario", "fleet", "internal/hub", "internal/iothub", "internal/identity", "metrics"},
		"internal/target/several":        {"internal/iothub"},
		"metrics":                        {"metrics/histogram", "metrics/internal", "metrics/reason"},
		"metrics/histogram":              {},
		"metrics/reason":                 {"internal/oserr"},
		"metrics/internal":               {},
		"metrics/prom":                   {"metrics"},
		"metrics/threshold":              {"metrics"},
		"metrics/judge":                  {"metrics"},
		"internal/fleet":                 {},
		"internal/fleet/redirect":        {"fleet/link"},
		"internal/fleet/book":            {"internal/audience"},
		"internal/audience":              {},
		"internal/fleet/assign":          {"fleet/link", "internal/fleet/status", "internal/iothub", "metrics"},
		"internal/fleet/status":          {"metrics"},
		"internal/fleet/loss":            {"fleet/link", "internal/oserr", "metrics/reason", "report/clean"},
		"internal/timers":                {},
		"internal/wire":                  {"internal/nowait"},
		"fleet/link/lean":                {"fleet/link", "internal/mqtt", "internal/nowait", "internal/timers", "internal/wire"},
		"fleet/link/amqp":                {"fleet/link", "internal/amqp", "internal/iothub/topics", "internal/nowait", "internal/timers", "internal/uuid", "internal/wire"},
		"fleet/link/https":               {"fleet/link", "internal/iothub/topics"},
		"fleet/link/linktest":            {"fleet/link", "internal/memnet", "internal/mqtt", "metrics/reason", "test/loopback"},
		"fleet/link/drivers":             {"fleet/link"},
		"fleet":                          append([]string{"fleet", "metrics", "internal/table", "internal/oserr", "internal/audience", "internal/fleet", "internal/nowait", "internal/timers", "internal/wire"}, contract...),
		"internal/worker":                append([]string{"internal/worker", "metrics"}, contract...),
		"internal/worker/call":           {"internal/iothub", "metrics"},
		"internal/worker/failure":        {"internal/iothub"},
		"internal/worker/pace":           {"internal/worker/call", "internal/worker/failure", "metrics", "schedule"},
		"internal/worker/rows":           {"internal/iothub"},
		"internal/worker/gate":           {"internal/worker/pace"},
		"internal/host":                  {},
		"internal/generator":             {},
		"internal/generator/rules":       {"internal/generator", "report"},
		"internal/generator/judge":       {"internal/generator", "report"},
		"internal/generator/meter":       {"internal/generator", "internal/host", "internal/oserr"},
		"internal/generator/watch":       {"internal/generator", "internal/host", "fleet/link", "metrics", "report"},
		"internal/identity":              {"internal/identity", "internal/iothub", "internal/table"},
		"internal/identity/credentials":  {"internal/language/topic", "internal/table", "scenario/problem"},
		"report":                         {"metrics", "report/human"},
		"report/human":                   {},
		"report/color":                   {},
		"report/clean":                   {},
		"report/account":                 {"metrics", "report"},
		"report/reasons":                 {"metrics", "report"},
		"report/findings":                {"metrics", "report"},
		"report/agents":                  {"metrics", "report"},
		"report/progress":                {"metrics", "report"},
		"report/summary":                 {"metrics", "report"},
		"report/text":                    {"metrics", "report"},
		"report/junit":                   {"metrics", "report"},
		"report/markdown":                {"metrics", "report"},
		"report/html":                    {"metrics", "report"},
		"report/record":                  {"metrics", "report"},
		"report/files":                   {"metrics", "report"},
		"report/charts":                  {"metrics", "report"},
		"report/curve":                   {"metrics", "report"},
		"report/answers":                 {"metrics", "report"},
		"report/compare":                 {"metrics", "report", "internal/linediff"},
		"report/reporttest":              {"metrics", "report"},
		"report/purchase":                {"metrics", "report"},
		"report/raw":                     {"metrics", "report"},
		"internal/dashboard":             {"internal/dashboard", "internal/httpserve", "report", "metrics"},
		"internal/httpserve":             {},
		"internal/export":                {"internal/export", "metrics"},
		"internal/terminal":              {"internal/terminal", "report", "metrics"},
		"internal/language":              {"internal/language", "scenario/problem", "fleet/payload", "schedule"},
		"scenario/problem":               {},
		"scenario/target":                {"fleet/link", "fleet/protocol", "scenario/problem", "internal/language/topic", "internal/iothub", "schedule"},
		"internal/eventhub":              {"internal/amqp", "internal/iothub", "internal/wait"},
		"internal/eventhub/eventhubtest": {"internal/amqp", "internal/iothub", "internal/memnet"},
		"scenario": {
			"scenario/problem", "scenario/target", "internal/language", "fleet/link/drivers", "fleet/payload",
			"internal/identity", "internal/iothub", "internal/audience", "internal/fleet/mark", "metrics", "schedule",
		},
		"internal/fit":               {"scenario", "scenario/plan", "internal/planning", "internal/host", "report"},
		"internal/swarm/cut":         {"report/human"},
		"internal/swarm/clock":       {},
		"internal/swarm/seal":        {},
		"internal/swarm/launch":      {},
		"internal/capacity":          {"internal/capacity/search", "internal/capacity/steady", "internal/capacity/trial"},
		"internal/capacity/search":   {},
		"internal/capacity/steady":   {},
		"internal/capacity/journal":  {},
		"internal/capacity/usl":      {},
		"internal/capacity/trial":    {"internal/capacity/search", "internal/capacity/steady", "scenario", "internal/iothub", "metrics", "report"},
		"internal/capacity/agents":   {"internal/capacity/search", "internal/capacity/trial", "internal/fit", "internal/host", "report", "scenario"},
		"internal/capacity/answer":   {"internal/capacity/agents", "internal/capacity/search", "internal/capacity/trial", "internal/capacity/usl", "metrics", "report"},
		"internal/capacity/session":  {"internal/capacity", "scenario"},
		"internal/capacity/progress": {"internal/capacity/progress/status", "internal/capacity/search", "internal/capacity/trial", "metrics", "report"},
		"internal/capacity/price":    {"internal/iothub", "report/clean"},
		"internal/capacity/buy":      {"internal/capacity/price", "internal/iothub", "report", "scenario/plan"},
		"internal/capacity/change":   {"internal/capacity/buy", "internal/language", "report", "scenario", "schedule/chance"},
		"internal/capacity/purchase": {"internal/capacity/buy", "internal/capacity/change", "report", "scenario"},
		"internal/capacity/verify":   {"internal/capacity/buy", "internal/iothub", "metrics", "report", "scenario"},
		"internal/capacity/measured": {"internal/planning/demand", "internal/planning/span", "metrics", "report", "scenario/plan"},
		"internal/gc":                {},
		"internal/bench":             {"internal/bench", "internal/host", "internal/iothub", "metrics/reason", "report"},
		"scenario/plan":              {"scenario", "internal/planning", "fleet/payload", "internal/iothub", "metrics", "report", "schedule"},
		"internal/planning":          {"internal/planning", "internal/gc", "scenario", "fleet/payload", "internal/iothub", "metrics", "report", "schedule"},
		"internal/planning/span":     {"scenario", "schedule"},
		"internal/planning/walk":     {"internal/planning/span", "scenario", "schedule"},
		"internal/doctor":            {"internal/oserr", "internal/capacity/buy", "scenario", "scenario/plan", "fleet/link", "internal/fit", "internal/host", "internal/iothub", "metrics/reason", "report"},
		"internal/capacity/rollout": {
			"internal/capacity", "internal/iothub/tier", "fleet/link", "metrics", "report", "scenario",
		},
		"internal/crew": {"scenario", "fleet", "internal/target", "internal/wait", "metrics", "report", "schedule"},
		"scenario/engine": {
			"scenario", "fleet", "internal/backend", "internal/crew", "internal/eventhub", "internal/fit", "internal/generator", "internal/host", "internal/identity", "internal/ledger",
			"internal/outage", "internal/target", "internal/verdict", "internal/worker", "metrics", "report", "schedule",
		},
		"cmd":               {""},
		"internal/archtest": {},
		"test":              {""},
		"grafana":           {"metrics"},
		"configs":           {},
	}
	for room, rooms := range contractRooms() {
		allowed[room] = rooms
	}
	for room, rooms := range swarmRooms() {
		allowed[room] = rooms
	}
	for room, rooms := range dpsRooms() {
		allowed[room] = rooms
	}
	for _, p := range packages(t) {
		room := ""
		for r := range allowed {
			if within(p.ImportPath, r) && len(r) > len(room) {
				room = r
			}
		}
		if room == "" {
			t.Errorf("%s is in no room of the design", p.ImportPath)
			continue
		}
		if slices.Contains(allowed[room], "") {
			continue
		}
		for _, imp := range p.Imports {
			if (imp == module || strings.HasPrefix(imp, module+"/")) && imp != module+"/internal/wait" && imp != module+"/internal/regular" && !within(imp, allowed[room]...) {
				t.Errorf("%s imports %s: room %q may import only %v", p.ImportPath, imp, room, allowed[room])
			}
		}
	}
}

// TestOwners holds libraries and rooms with side effects to the one room that wraps them.
func TestOwners(t *testing.T) {
	owners := map[string][]string{
		"github.com/eclipse/paho.mqtt.golang":     {"fleet/link/paho", "internal/bench/bare", "test/counting", "test/soak"},
		"github.com/prometheus":                   {"metrics/prom", "internal/export", "internal/bench"},
		"go.opentelemetry.io":                     {"internal/export"},
		"github.com/nats-io/nats.go":              {"internal/swarm/natsbus"},
		"github.com/nats-io/nats-server/v2":       {"internal/swarm/embednats"},
		"go.etcd.io/bbolt":                        {"internal/hub/store", "internal/hub/dps/book/disk"},
		"github.com/netresearch/go-cron":          {"schedule"},
		"github.com/spf13/cobra":                  {"cmd"},
		"github.com/spf13/viper":                  {"cmd"},
		"github.com/parquet-go/parquet-go":        {"report/raw"},
		"go.yaml.in/yaml/v4":                      {"scenario", "internal/language", "internal/capacity/trial"},
		module + "/internal/hub":                  {"cmd", "internal/target", "internal/hub"},
		module + "/internal/hub/store":            {"internal/hub"},
		"github.com/RoaringBitmap/roaring/v2":     {"internal/hub", "internal/iothub/query"},
		"github.com/HdrHistogram/hdrhistogram-go": {"metrics"},
		"charm.land/bubbletea/v2":                 {"internal/terminal"},
		"github.com/charmbracelet":                {"internal/terminal", "test/rig"},
		"github.com/creack/pty":                   {"test/rig"},
		"golang.org/x/crypto":                     {"internal/identity/pemfile", "internal/swarm/seal"},
		"math/rand":                               {},
		"log":                                     {},
		"encoding/gob":                            {},
	}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for lib, rooms := range owners {
				exact := lib == "log" || lib == "math/rand"
				if (exact && imp != lib) || (!exact && imp != lib && !strings.HasPrefix(imp, lib+"/")) {
					continue
				}
				if !within(p.ImportPath, rooms...) {
					t.Errorf("%s imports %s, which only %v may", p.ImportPath, imp, rooms)
				}
			}
		}
	}
}

// TestEveryPackageSaysWhatItIs asks for a package comment, and for files short enough to hold one idea.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	const most = 600
	for _, p := range packages(t) {
		documented := false
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(src, []byte("\n")); n > most {
				t.Errorf("%s has %d lines; %d are the most", path, n, most)
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc != nil
		}
		if !documented && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// TestNoInit refuses init functions and mutable state at package level behind them.
func TestNoInit(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if ast.IsGenerated(f) {
				continue
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s has an init function", p.ImportPath, name)
				}
			}
		}
	}
}
