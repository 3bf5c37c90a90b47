//go:build integration

package boards

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/test/rig"
)

// board is a dashboard as Grafana reads it.
type board struct {
	name       string
	raw        json.RawMessage
	Panels     []panel
	Templating struct {
		List []struct {
			Name, Type, AllValue string
			Query                json.RawMessage
			Current              struct{ Value any }
		}
	}
	Annotations struct {
		List []struct{ Target struct{ Expr string } }
	}
}

type panel struct {
	ID      int
	Title   string
	Type    string
	Targets []struct {
		RefID   string
		Expr    string
		Instant bool
	}
	FieldConfig struct{ Defaults struct{ NoValue string } }
	Panels      []panel
}

// boards are all of grafana/dashboards.
func allBoards(t *testing.T) (all []board) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(rig.Root(), "grafana", "dashboards", "*.json"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d dashboards: %v", len(files), err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b := board{name: strings.TrimSuffix(filepath.Base(f), ".json"), raw: raw}
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all = append(all, b)
	}
	return all
}

// flat are the panels with those of folded rows, without the rows.
func (b *board) flat() (all []panel) {
	for _, p := range b.Panels {
		if p.Type != "row" {
			all = append(all, p)
		}
		all = append(all, p.Panels...)
	}
	return all
}

// shown is how long the time is that boards show.
const shown = 5 * time.Minute

// filler puts in what Grafana puts in for its variables: all of everything, or one run.
func (b *board) filler(run string) func(string) string {
	pairs := []string{"$__rate_interval", "20s", "$__interval", "5s", "$__range", "300s"}
	for _, v := range b.Templating.List {
		value := v.AllValue
		if v.Type == "custom" {
			value = v.Current.Value.(string)
		}
		if v.Name == "run" && run != "" {
			value = run
		}
		pairs = append(pairs, "$"+v.Name, value)
	}
	return strings.NewReplacer(pairs...).Replace
}

// values are the queries of the variables: a metric and its label.
func (b *board) values(t *testing.T) (all [][2]string) {
	t.Helper()
	fill := b.filler("")
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		var q struct{ Query string }
		if err := json.Unmarshal(v.Query, &q); err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(fill(q.Query))
		if m == nil {
			t.Fatalf("%s: variable %s: %s", b.name, v.Name, q.Query)
		}
		all = append(all, [2]string{m[1], m[2]})
	}
	return all
}
