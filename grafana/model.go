// Package grafana makes the dashboards in grafana/dashboards: boards are written down once, in boards*.go, and
// the JSON that Grafana reads is generated (go test ./grafana -update), so that all are of one kind.
package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Board is one dashboard.
type Board struct {
	UID         string // fixed: links and bookmarks hold it
	Title       string // as Grafana lists it
	Description string // what one learns from it, in a sentence or two
	// More variables beside those that every board has: data source, scenario, run and group.
	More []Variable
	Rows []Row // from top to bottom
}

// Row is a heading with panels below it.
type Row struct {
	Title  string  // the heading
	Panels []Panel // from left to right, as many a line as fit
	// Folded rows show their panels when they are clicked on; Grafana does not query them before.
	Folded bool
}

// Variable is a choice at the top of a board.
type Variable struct {
	Name, Label string   // in queries, and as a person reads it
	Values      string   // label_values(…)
	Options     []string // to choose from, when there is no query
	Default     string   // of Options
}

// Panel is one picture.
type Panel struct {
	Title, Description string            // the heading, and what its figures mean
	Kind               string            // timeseries, stat, bargauge, heatmap, table
	Unit               string            // Grafana's name of it
	Width, Height      int               // of 24 columns; 8 and 8 when 0
	Queries            []Query           // drawn together
	Steps              []Step            // colours from a value on; the first is the colour below all others
	Stacked            bool              // timeseries: one series on top of the other
	Max                float64           // of the axis; none when 0
	Colors             map[string]string // of series, by legend
	ShowName           bool              // stat: the legend instead of the value
}

// Query is what a panel asks Prometheus.
type Query struct {
	Expr   string // in PromQL
	Legend string // of its series; {{label}} stands for a label
	// Instant asks for the last value alone: tables and bars.
	Instant bool
}

// Step is a colour from a value on.
type Step struct {
	Color string  // Grafana's name of it
	From  float64 // the value; of the first step it is not used
}

type object = map[string]any

func datasource() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// JSON is the board as Grafana reads it.
func (b Board) JSON() ([]byte, error) {
	var panels []any
	id, y := 0, 0
	for _, row := range b.Rows {
		id++
		heading := object{"id": id, "type": "row", "title": row.Title, "collapsed": row.Folded, "gridPos": object{"x": 0, "y": y, "w": 24, "h": 1}, "panels": []any{}}
		y++
		var inside []any
		x, tallest := 0, 0
		for _, p := range row.Panels {
			id++
			w, h := orElse(p.Width, 8), orElse(p.Height, 8)
			if x+w > 24 {
				x, y, tallest = 0, y+tallest, 0
			}
			inside = append(inside, p.json(id, object{"x": x, "y": y, "w": w, "h": h}))
			x, tallest = x+w, max(tallest, h)
		}
		y += tallest
		if row.Folded {
			heading["panels"] = inside
			panels = append(panels, heading)
		} else {
			panels = append(append(panels, heading), inside...)
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(object{
		"uid": b.UID, "title": "twinfleet / " + b.Title, "description": b.Description, "tags": []string{"twinfleet"}, "editable": true, "graphTooltip": 1,
		"schemaVersion": 39, "version": 1, "refresh": "5s", "time": object{"from": "now-15m", "to": "now"}, "timezone": "browser",
		"templating": object{"list": b.variables()}, "annotations": object{"list": []any{stages()}}, "links": links(), "panels": panels,
	})
	return out.Bytes(), err
}

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// links lead to the other boards and take the choices along.
func links() []any {
	return []any{object{
		"title": "twinfleet boards", "type": "dashboards", "tags": []string{"twinfleet"}, "asDropdown": false, "includeVars": true, "keepTime": true,
		"icon": "external link",
	}}
}

// stages marks where a stage began: a stage's series is there that was not there one step before.
func stages() object {
	info := "twinfleet_run_info{" + ofRun + `,stage!=""}`
	return object{
		"name": "Stages", "datasource": datasource(), "enable": true, "iconColor": "blue",
		"expr":        info + " unless " + info + " offset $__interval",
		"titleFormat": "{{stage}}", "textFormat": "{{scenario}}, run {{run}}", "tagKeys": "stage",
	}
}

func (b Board) variables() []any {
	list := []any{object{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{}, "hide": 0}}
	for _, v := range append([]Variable{
		{Name: "scenario", Label: "Scenario", Values: "label_values(twinfleet_run_info, scenario)"},
		{Name: "run", Label: "Run", Values: `label_values(twinfleet_run_info{scenario=~"$scenario"}, run)`},
		{Name: "group", Label: "Group", Values: "label_values(twinfleet_devices, group)"},
	}, b.More...) {
		list = append(list, v.json())
	}
	return list
}

func (v Variable) json() object {
	out := object{"name": v.Name, "label": v.Label}
	if v.Values == "" {
		var options []any
		for _, o := range v.Options {
			options = append(options, object{"text": o, "value": o, "selected": o == v.Default})
		}
		out["type"], out["query"], out["options"] = "custom", strings.Join(v.Options, ","), options
		out["current"] = object{"text": v.Default, "value": v.Default}
		return out
	}
	out["type"], out["datasource"], out["refresh"], out["sort"] = "query", datasource(), 2, 1
	out["query"] = object{"query": v.Values, "refId": "variable-" + v.Name}
	out["includeAll"], out["allValue"], out["multi"] = true, ".*", true
	out["current"] = object{"text": "All", "value": "$__all"}
	return out
}

func (p Panel) json(id int, at object) object {
	defaults := object{"unit": p.Unit, "min": 0, "color": object{"mode": "palette-classic"}}
	if p.Max > 0 {
		defaults["max"] = p.Max
	}
	if len(p.Steps) > 0 {
		var steps []any
		for i, s := range p.Steps {
			var from any = s.From
			if i == 0 {
				from = nil
			}
			steps = append(steps, object{"color": s.Color, "value": from})
		}
		defaults["thresholds"] = object{"mode": "absolute", "steps": steps}
		if p.Kind != "timeseries" {
			defaults["color"] = object{"mode": "thresholds"}
		}
	}
	overrides := []any{}
	for _, legend := range sorted(p.Colors) {
		overrides = append(overrides, object{
			"matcher":    object{"id": "byName", "options": legend},
			"properties": []any{object{"id": "color", "value": object{"mode": "fixed", "fixedColor": p.Colors[legend]}}},
		})
	}
	var targets []any
	for i, q := range p.Queries {
		t := object{"refId": string(rune('A' + i)), "datasource": datasource(), "expr": q.Expr, "legendFormat": q.Legend, "range": !q.Instant, "instant": q.Instant}
		if p.Kind == "heatmap" {
			t["format"] = "heatmap"
		}
		if p.Kind == "table" {
			t["format"] = "table"
		}
		targets = append(targets, t)
	}
	out := object{
		"id": id, "title": p.Title, "description": p.Description, "type": p.Kind, "datasource": datasource(), "gridPos": at,
		"fieldConfig": object{"defaults": defaults, "overrides": overrides}, "targets": targets,
	}
	p.dress(out, defaults)
	return out
}

// dress adds what a kind of panel has beside the rest.
func (p Panel) dress(out, defaults object) {
	last := object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	switch p.Kind {
	case "timeseries":
		custom := object{
			"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
			"stacking": object{"mode": "none", "group": "A"},
		}
		if p.Stacked {
			custom["fillOpacity"], custom["stacking"] = 40, object{"mode": "normal", "group": "A"}
		}
		if len(p.Steps) > 0 {
			custom["thresholdsStyle"] = object{"mode": "dashed"}
		}
		defaults["custom"] = custom
		out["options"] = object{
			"legend":  object{"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": []string{"lastNotNull", "max"}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	case "stat":
		text := "auto"
		if p.ShowName {
			text = "name"
		}
		out["options"] = object{"reduceOptions": last, "textMode": text, "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto"}
	case "bargauge":
		out["options"] = object{"reduceOptions": last, "displayMode": "gradient", "orientation": "horizontal", "showUnfilled": true}
	case "heatmap":
		out["options"] = object{
			"calculate": false, "cellGap": 1, "color": object{"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
			"yAxis": object{"unit": p.Unit, "axisPlacement": "left"}, "tooltip": object{"mode": "single", "showColorScale": true}, "legend": object{"show": false},
		}
		delete(defaults, "color")
	case "table":
		hide := object{"Time": true, "__name__": true, "instance": true, "job": true}
		out["transformations"] = []any{object{"id": "organize", "options": object{"excludeByName": hide}}}
		out["options"] = object{"showHeader": true, "cellHeight": "sm"}
	default:
		panic(fmt.Sprintf("grafana: no kind of panel %q", p.Kind))
	}
}
