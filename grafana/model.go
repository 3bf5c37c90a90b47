// Package grafana makes the dashboards in grafana/dashboards: boards are written down once, in boards*.go, and
// the JSON that Grafana reads is generated (go test ./grafana -update), so that all are of one kind.
package grafana

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
)

// Board is one dashboard.
type Board struct {
	UID         string // fixed: links and bookmarks hold it
	Title       string // as Grafana lists it
	Description string // what one learns from it, in a sentence or two
	// More variables beside those that every board has: data source, scenario, run and group.
	More []Variable
	Rows []Row  // from top to bottom
	From string // where the time range begins; now-5m when empty
}

// Row is a heading with panels below it.
type Row struct {
	Title  string  // the heading
	Panels []Panel // from left to right, as many a line as fit
	// Folded rows show their panels when they are clicked on; Grafana does not query them before.
	Folded bool
	// NoValue says why there may be nothing to show in panels that do not say it themselves.
	NoValue string
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
	Log                bool              // timeseries: the axis is logarithmic, for times of which some are a thousand others
	Max                float64           // of the axis; none when 0
	Colors             map[string]string // of series, by legend
	Names              map[string]string // of series, by legend: what is shown instead
	ShowName           bool              // stat: the legend instead of the value
	Filled             bool              // stat: the tile in its colour, and not the text
	NoValue            string            // why there may be nothing to show; "No data" when empty
	Columns            []Column          // table: those that are shown, from left to right
	Zero               string            // what is shown for 0; the number when empty
	Most               bool              // stat, bargauge: the highest value of the time, and not the last one
	Negative           bool              // timeseries: values may be below zero
}

// Column is one of a table.
type Column struct {
	Field  string            // a label, or Value; with several queries Value #A, Value #B …
	Title  string            // the heading
	Unit   string            // Grafana's name of it; of the panel when empty
	Width  int               // in pixels; what is left when 0
	Steps  []Step            // colours from a value on
	Marks  map[string]string // texts in a colour: of a value or a text, "colour text"
	Number bool              // a label that is a number
	Hidden bool              // not drawn: for links
	Link   string            // where a click leads to, and what it does
}

// Query is what a panel asks Prometheus.
type Query struct {
	Expr   string // in PromQL
	Legend string // of its series; {{label}} stands for a label
	// Instant asks for the last value alone: tables, and names that are labels.
	Instant bool
}

// Step is a colour from a value on.
type Step struct {
	Color string  // Grafana's name of it
	From  float64 // the value; of the first step it is not used
}

// What the boards are written for.
const (
	schemaVersion = 42       // of dashboards
	pluginVersion = "13.2.3" // of Grafana's panels
)

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
			p.NoValue = cmp.Or(p.NoValue, row.NoValue)
			w, h := cmp.Or(p.Width, 8), cmp.Or(p.Height, 8)
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
		"schemaVersion": schemaVersion, "version": 1, "refresh": "5s", "time": object{"from": cmp.Or(b.From, "now-5m"), "to": "now"}, "timezone": "browser",
		"templating": object{"list": b.variables()}, "annotations": object{"list": []any{stages()}}, "links": links(), "panels": panels,
	})
	return out.Bytes(), err
}

// links lead to the other boards and take the choices along.
func links() []any {
	return []any{object{
		"title": "twinfleet boards", "type": "dashboards", "tags": []string{"twinfleet"}, "asDropdown": false, "includeVars": true, "keepTime": true,
		"icon": "external link", "url": "", "tooltip": "The same choices and times on another board", "targetBlank": false,
	}}
}

// stages marks where a stage began: a stage's series is there that was not there one step before.
func stages() object {
	info := "twinfleet_run_info{" + ofRun + `,stage!=""}`
	return object{
		"name": "Stages", "datasource": datasource(), "enable": true, "hide": false, "iconColor": "blue",
		"target": object{
			"refId": "stages", "datasource": datasource(), "expr": info + " unless " + info + " offset $__interval", "range": true, "instant": false,
		},
		"titleFormat": "{{stage}}", "textFormat": "{{scenario}}, run {{run}}", "tagKeys": "stage",
	}
}

func (b Board) variables() []any {
	list := []any{object{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{"text": "", "value": ""}, "hide": 0}}
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
