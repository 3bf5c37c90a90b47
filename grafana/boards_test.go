package grafana

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The JSON in grafana/dashboards is what the boards are, and nothing else is there.
func TestDashboardsAreCurrent(t *testing.T) {
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, there := Boards()[filepath.Base(f)]; !there {
			t.Errorf("%s is no board", f)
		}
	}
	for name, board := range Boards() {
		got, err := board.JSON()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("dashboards", name)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != string(got) {
			t.Errorf("%s is not current (%v); go test ./grafana -update makes it so", file, err)
		}
	}
}

// Panels explain themselves, overlap nowhere, and have units and queries; boards have their own fixed uid.
func TestPanels(t *testing.T) {
	uids := make(map[string]string)
	for name, board := range Boards() {
		if other, taken := uids[board.UID]; taken || board.UID == "" {
			t.Errorf("%s and %s have the uid %q", name, other, board.UID)
		}
		uids[board.UID] = name
		raw, err := board.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), `"uid": "prometheus"`) {
			t.Errorf("%s names a data source; it must take the chosen one", name)
		}
		var b struct{ Panels []drawn }
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatal(err)
		}
		var all []drawn
		for _, p := range b.Panels {
			all = append(append(all, p), p.Panels...)
		}
		ids := make(map[int]bool)
		for i, p := range all {
			if ids[p.ID] {
				t.Errorf("%s: the id %d is there twice", name, p.ID)
			}
			ids[p.ID] = true
			if p.X+p.W > 24 || p.W == 0 || p.H == 0 {
				t.Errorf("%s: %s is %d wide at %d", name, p.Title, p.W, p.X)
			}
			for _, o := range all[:i] {
				if p.X < o.X+o.W && o.X < p.X+p.W && p.Y < o.Y+o.H && o.Y < p.Y+p.H {
					t.Errorf("%s: %q lies on %q", name, p.Title, o.Title)
				}
				if p.Type != "row" && p.Title == o.Title {
					t.Errorf("%s: two panels have the title %q", name, p.Title)
				}
			}
			if p.Type == "row" {
				continue
			}
			if !strings.HasSuffix(p.Description, ".") || len(p.Targets) == 0 {
				t.Errorf("%s: %q has the description %q and %d queries", name, p.Title, p.Description, len(p.Targets))
			}
			if !slices.Contains([]string{"s", "ops", "short", "locale", "percentunit", "bytes", "none"}, p.FieldConfig.Defaults.Unit) {
				t.Errorf("%s: %q has the unit %q", name, p.Title, p.FieldConfig.Defaults.Unit)
			}
		}
	}
}

type drawn struct {
	ID                       int
	Type, Title, Description string
	GridPos                  `json:"gridPos"`
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ Expr string }
	Panels                   []drawn
}

// GridPos is where a panel is; it is exported for encoding/json.
type GridPos struct{ X, Y, W, H int }

// question is a query with where it stands.
type question struct {
	where, expr, legend string
	rule                bool
}

// questions are the queries of all panels and annotations, and of all rules.
func questions(t *testing.T) (all []question, recorded map[string][]string) {
	t.Helper()
	for name, board := range Boards() {
		for _, row := range board.Rows {
			for _, p := range row.Panels {
				for _, q := range p.Queries {
					all = append(all, question{name + ": " + p.Title, fill(q.Expr), q.Legend, false})
				}
			}
		}
		all = append(all, question{name + ": stages", fill(stages()["target"].(object)["expr"].(string)), "{{stage}}{{scenario}}{{run}}", false})
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	b, err := os.ReadFile("../configs/prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &rules); err != nil {
		t.Fatal(err)
	}
	recorded = make(map[string][]string)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all = append(all, question{"rule " + r.Record + r.Alert, r.Expr, "", true})
			if r.Record != "" {
				recorded[r.Record] = []string{"job", "instance", "operation", "outcome", "group", "query"}
			}
		}
	}
	return all, recorded
}

func fill(expr string) string {
	return strings.NewReplacer("$__rate_interval", "20s", "$__interval", "5s", "$__range", "5m", "$quantile", "0.99", "$group", ".*", "$query", ".*", "$run", ".*",
		"$scenario", ".*").Replace(expr)
}

// catalogue is every metric that a run shows, with its labels; a test in cmd/twinfleet holds it to a run.
func catalogue(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../cmd/twinfleet/testdata/metrics.golden")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{"up": {"job", "instance"}} // Prometheus' own
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		have := append([]string{"job", "instance"}, f[2:]...)
		if f[1] == "histogram" {
			for _, suffix := range []string{"_sum", "_count"} {
				all[f[0]+suffix] = have
			}
			all[f[0]+"_bucket"] = append([]string{"le"}, have...)
		}
		all[f[0]] = have
	}
	return all
}

// values are what labels with a fixed set of values may be.
func values() map[string][]string {
	v := map[string][]string{
		"state": {fleet.StateWaiting, fleet.StateConnecting, fleet.StateConnected, fleet.StateBackoff, fleet.StateOffline},
		"check": {"ok", "missing", "extra", "stale", "unjudged"}, "result": {"met", "unmet"}, "status": {"enabled", "disabled"},
		"reason": {metrics.DropInFlight, metrics.DropNotConnected, metrics.DropStopped, metrics.DropOther},
	}
	for _, o := range metrics.Operations() {
		v["operation"] = append(v["operation"], string(o))
	}
	for _, o := range metrics.Outcomes() {
		v["outcome"] = append(v["outcome"], o.String())
	}
	for _, c := range tier.Classes() {
		v["class"] = append(v["class"], string(c))
	}
	return v
}

// Every metric, label and label's value in a board or rule is one that a run shows.
func TestQueriesNameWhatThereIs(t *testing.T) {
	known := catalogue(t)
	all, recorded := questions(t)
	maps.Copy(known, recorded)
	used := make(map[string]bool)
	for _, q := range all {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(q.expr)
		if err != nil {
			t.Errorf("%s: %s: %v", q.where, q.expr, err)
			continue
		}
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			switch n := node.(type) {
			case *parser.VectorSelector:
				have, there := known[n.Name]
				if !there {
					t.Errorf("%s: there is no metric %s", q.where, n.Name)
				}
				used[n.Name] = true
				for _, m := range n.LabelMatchers {
					check(t, q.where, n.Name, m, have)
				}
			case *parser.AggregateExpr:
				for _, l := range n.Grouping {
					if !hasLabel(n.Expr, l, known) {
						t.Errorf("%s: by %s: %s has no such label", q.where, l, n.Expr)
					}
				}
			}
			return nil
		})
		for _, l := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(q.legend, -1) {
			if !hasLabel(expr, l[1], known) {
				t.Errorf("%s: the legend wants %s, which the result has not", q.where, l[1])
			}
		}
	}
	for name := range catalogue(t) {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if !used[name] && !used[base] && strings.HasPrefix(name, "twinfleet_") {
			t.Errorf("%s is on no board and in no rule", name)
		}
	}
}

func check(t *testing.T, where, metric string, m *labels.Matcher, have []string) {
	t.Helper()
	if m.Name == model.MetricNameLabel {
		return
	}
	if !slices.Contains(have, m.Name) {
		t.Errorf("%s: %s has no label %s", where, metric, m.Name)
	}
	if m.Name == "le" {
		return // edges are checked by the run against a real Prometheus: an edge that is not there gives no data
	}
	possible, fixed := values()[m.Name]
	if metric == "twinfleet_rollout_devices" && m.Name == "state" {
		possible = []string{"planned", "patched", "told", "answered", "failed"}
	}
	if !fixed || m.Value == "" || m.Value == ".*" {
		return
	}
	for _, v := range strings.Split(m.Value, "|") {
		if !slices.Contains(possible, v) {
			t.Errorf("%s: %s is never %q", where, m.Name, v)
		}
	}
}

// hasLabel reports whether a selector on the left of every operator within an expression has a label.
func hasLabel(e parser.Expr, label string, known map[string][]string) bool {
	switch n := e.(type) {
	case *parser.VectorSelector:
		return slices.Contains(known[n.Name], label)
	case *parser.MatrixSelector:
		return hasLabel(n.VectorSelector, label, known)
	case *parser.SubqueryExpr:
		return hasLabel(n.Expr, label, known)
	case *parser.Call:
		if n.Func.Name == "label_replace" {
			return n.Args[1].(*parser.StringLiteral).Val == label || hasLabel(n.Args[0], label, known)
		}
		return slices.ContainsFunc(n.Args, func(arg parser.Expr) bool { return hasLabel(arg, label, known) })
	case *parser.BinaryExpr:
		if n.LHS.Type() == parser.ValueTypeScalar {
			return hasLabel(n.RHS, label, known)
		}
		return hasLabel(n.LHS, label, known) || n.VectorMatching != nil && slices.Contains(n.VectorMatching.Include, label)
	case *parser.ParenExpr:
		return hasLabel(n.Expr, label, known)
	case *parser.AggregateExpr:
		if counted, ok := n.Param.(*parser.StringLiteral); ok && counted.Val == label {
			return true
		}
		return slices.Contains(n.Grouping, label) || n.Op == parser.TOPK && hasLabel(n.Expr, label, known)
	default:
		return false
	}
}

// The compose file mounts what is there and pins its images; what Grafana is provisioned with names no secret.
func TestComposeFile(t *testing.T) {
	b, err := os.ReadFile("../configs/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image   string
			Build   any
			Volumes []string
			Command any
		}
	}
	if err := yaml.Unmarshal(b, &compose); err != nil {
		t.Fatal(err)
	}
	for name, s := range compose.Services {
		if s.Build == nil && !regexp.MustCompile(`^[a-z0-9./-]+:v?\d+\.\d+\.\d+$`).MatchString(s.Image) {
			t.Errorf("%s: the image %q is not pinned to a version", name, s.Image)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(source, ".") {
				continue // a volume
			}
			if _, err := os.Stat(filepath.Join("../configs", source)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, want := range []string{"twinfleet", "prometheus", "grafana"} {
		if _, there := compose.Services[want]; !there {
			t.Errorf("there is no service %s", want)
		}
	}
	for _, file := range []string{"dashboards/dashboards.yaml", "datasources/datasource.yaml", "../configs/prometheus.yml", "../configs/prometheus-rules.yml"} {
		var any any
		b, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(b, &any)
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The rules are tested with the intervals that ship; each alert says of which run it is, where to look, and what to do.
func TestAlerts(t *testing.T) {
	var shipped struct {
		Global struct {
			Scrape   string `yaml:"scrape_interval"`
			Evaluate string `yaml:"evaluation_interval"`
		}
	}
	var tested struct {
		Evaluate string `yaml:"evaluation_interval"`
		Tests    []struct{ Interval string }
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	for file, into := range map[string]any{"prometheus.yml": &shipped, "prometheus-rules.test.yml": &tested, "prometheus-rules.yml": &rules} {
		b, err := os.ReadFile(filepath.Join("../configs", file))
		if err == nil {
			err = yaml.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if shipped.Global.Evaluate == "" || tested.Evaluate != shipped.Global.Evaluate {
		t.Errorf("rules are tested each %q, and evaluated each %q", tested.Evaluate, shipped.Global.Evaluate)
	}
	for _, x := range tested.Tests {
		if x.Interval != shipped.Global.Scrape {
			t.Errorf("rules are tested with a scrape each %s; %s ships", x.Interval, shipped.Global.Scrape)
		}
	}
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			alerts++
			page, ok := strings.CutPrefix(r.Annotations["runbook_url"], "https://github.com/twinfleet/twinfleet/blob/main/")
			if text, err := os.ReadFile(filepath.Join("..", page)); !ok || err != nil || !strings.HasPrefix(string(text), "# "+r.Alert+"\n") {
				t.Errorf("%s: its runbook is %q: %v", r.Alert, page, err)
			}
			board := regexp.MustCompile(`/d/([a-z-]+)\?var-run={{ \$labels.run }}&from=.*&to=now$`).FindStringSubmatch(r.Annotations["dashboard_url"])
			if board == nil || !slices.ContainsFunc(slices.Collect(maps.Values(Boards())), func(b Board) bool { return b.UID == board[1] }) {
				t.Errorf("%s: it leads to no board: %s", r.Alert, r.Annotations["dashboard_url"])
			}
		}
	}
	pages, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil || len(pages) != alerts {
		t.Errorf("%d runbooks for %d alerts: %v", len(pages), alerts, err)
	}
}
