package grafana

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (p Panel) json(id int, at object) object {
	defaults := object{"unit": p.Unit, "color": object{"mode": "palette-classic"}, "mappings": p.mappings()}
	if !p.Log && !p.Negative {
		defaults["min"] = 0
	}
	if p.Unit == "locale" {
		defaults["decimals"] = 0
	}
	if p.Max > 0 {
		defaults["max"] = p.Max
	}
	if p.NoValue != "" {
		defaults["noValue"] = p.NoValue
	}
	if p.Kind == "stat" && len(p.Steps) == 0 && len(p.Colors) == 0 { // a fact is neither good nor bad
		color := "blue"
		if p.ShowName || p.Zero != "" {
			color = "text"
		}
		defaults["color"] = object{"mode": "fixed", "fixedColor": color}
	}
	if len(p.Steps) > 0 {
		defaults["thresholds"] = object{"mode": "absolute", "steps": steps(p.Steps)}
		if p.Kind != "timeseries" {
			defaults["color"] = object{"mode": "thresholds"}
		}
	}
	var targets []any
	for i, q := range p.Queries {
		t := object{"refId": ref(i), "datasource": datasource(), "expr": q.Expr, "legendFormat": q.Legend, "range": !q.Instant, "instant": q.Instant}
		if p.Kind == "heatmap" || p.Kind == "table" {
			t["format"] = p.Kind
		}
		targets = append(targets, t)
	}
	out := object{
		"id": id, "title": p.Title, "description": p.Description, "type": p.Kind, "pluginVersion": pluginVersion, "datasource": datasource(), "gridPos": at,
		"fieldConfig": object{"defaults": defaults, "overrides": p.overrides()}, "targets": targets,
	}
	p.dress(out, defaults)
	return out
}

// ref names the n-th query of a panel.
func ref(n int) string { return string(rune('A' + n)) }

// steps are colours as Grafana reads them: the first has no lower end.
func steps(of []Step) (all []any) {
	for i, s := range of {
		var from any = s.From
		if i == 0 {
			from = nil
		}
		all = append(all, object{"color": s.Color, "value": from})
	}
	return all
}

// mappings are what is shown instead of numbers.
func (p Panel) mappings() []any {
	all := []any{}
	if p.Zero != "" {
		all = append(all, object{"type": "value", "options": object{"0": object{"text": p.Zero, "index": 0}}})
	}
	if p.Kind == "stat" && p.NoValue != "" { // that there is nothing is neither good nor bad
		all = append(all, object{"type": "special", "options": object{"match": "null", "result": object{"text": p.NoValue, "color": "text", "index": len(all)}}})
	}
	return all
}

// override is what a field has of its own.
func override(field string, properties ...any) object {
	return object{"matcher": object{"id": "byName", "options": field}, "properties": properties}
}

func property(id string, value any) object { return object{"id": id, "value": value} }

func (p Panel) overrides() []any {
	all := []any{}
	names := slices.Sorted(maps.Keys(p.Colors))
	for legend := range p.Names {
		if _, colored := p.Colors[legend]; !colored {
			names = append(names, legend)
		}
	}
	slices.Sort(names)
	for _, legend := range names {
		var properties []any
		if color := p.Colors[legend]; color != "" {
			properties = append(properties, property("color", object{"mode": "fixed", "fixedColor": color}))
		}
		if name := p.Names[legend]; name != "" {
			properties = append(properties, property("displayName", name))
		}
		all = append(all, override(legend, properties...))
	}
	for _, c := range p.Columns {
		all = append(all, override(c.Title, c.properties()...))
	}
	return all
}

func (c Column) properties() []any {
	all := []any{property("noValue", "–")}
	if c.Unit != "" {
		all = append(all, property("unit", c.Unit))
	}
	if c.Unit == "locale" {
		all = append(all, property("decimals", 0))
	}
	if c.Hidden {
		all = append(all, property("custom.hideFrom", object{"viz": true, "legend": false, "tooltip": false}))
	}
	if c.Width > 0 {
		all = append(all, property("custom.width", c.Width))
	}
	if len(c.Steps) > 0 {
		all = append(all, property("thresholds", object{"mode": "absolute", "steps": steps(c.Steps)}), property("color", object{"mode": "thresholds"}))
	}
	if len(c.Marks) > 0 {
		options := object{}
		for i, value := range slices.Sorted(maps.Keys(c.Marks)) {
			color, text, _ := strings.Cut(c.Marks[value], " ")
			options[value] = object{"text": text, "color": color, "index": i}
		}
		all = append(all, property("mappings", []any{object{"type": "value", "options": options}}))
	}
	if len(c.Steps)+len(c.Marks) > 0 {
		all = append(all, property("custom.cellOptions", object{"type": "color-text"}))
	}
	if c.Link != "" {
		title, url, _ := strings.Cut(c.Link, ": ")
		all = append(all, property("links", []any{object{"title": title, "url": url, "targetBlank": false}}))
	}
	return all
}

// dress adds what a kind of panel has beside the rest.
func (p Panel) dress(out, defaults object) {
	last := object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	if p.Most {
		last["calcs"] = []string{"max"}
	}
	switch p.Kind {
	case "timeseries":
		defaults["custom"] = p.lines()
		out["options"] = object{"legend": p.legend(), "tooltip": object{"mode": "multi", "sort": "desc", "hideZeros": false}}
	case "stat":
		text, color, graph := "auto", "value", "area"
		if len(p.Queries) > 1 {
			graph = "none" // beside one that has none it would stand higher
		}
		if p.ShowName {
			text, graph = "name", "none"
		}
		if p.Filled {
			color, graph = "background", "none"
		}
		out["options"] = object{
			"reduceOptions": last, "textMode": text, "colorMode": color, "graphMode": graph, "justifyMode": "auto", "orientation": "auto",
			"wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard",
		}
	case "bargauge":
		names := "auto"
		if p.Width < wide/2 { // beside the bars they would be cut off
			names = "top"
		}
		out["options"] = object{
			"reduceOptions": last, "displayMode": "basic", "valueMode": "color", "namePlacement": names, "orientation": "horizontal", "showUnfilled": true,
			"sizing": "auto", "minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 40,
			"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []string{}},
		}
	case "heatmap":
		out["options"] = object{
			"calculate": false, "cellGap": 1, "showValue": "never", "exemplars": object{"color": "rgba(255,0,255,0.7)"},
			"color":        object{"mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "steps": 64, "exponent": 0.5, "reverse": false},
			"filterValues": object{"le": 1e-9}, "yAxis": object{"unit": p.Unit, "axisPlacement": "left"},
			"tooltip": object{"mode": "single", "showColorScale": true}, "legend": object{"show": true},
		}
		delete(defaults, "color")
	case "table":
		out["options"] = object{"showHeader": true, "cellHeight": "sm", "frameIndex": 0}
		out["transformations"] = p.transformations()
		defaults["custom"] = object{"align": "auto", "inspect": false, "cellOptions": object{"type": "auto"}}
	default:
		panic(fmt.Sprintf("grafana: no kind of panel %q", p.Kind))
	}
}

// lines are how series are drawn. Stacked ones have no outline: that of a series of zeros would be one of what lies below it.
func (p Panel) lines() object {
	custom := object{
		"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false, "stacking": object{"mode": "none", "group": "A"},
	}
	if len(p.Queries) > 1 || p.Negative { // what is filled below a limit hides what it limits
		custom["fillOpacity"] = 0
	}
	if p.Stacked {
		custom["lineWidth"], custom["fillOpacity"], custom["stacking"] = 0, 60, object{"mode": "normal", "group": "A"}
	}
	if len(p.Steps) > 0 {
		custom["thresholdsStyle"] = object{"mode": "dashed"}
	}
	if p.Log {
		custom["scaleDistribution"] = object{"type": "log", "log": 10}
		custom["fillOpacity"] = 0
	} else if most, there := map[string]float64{"percentunit": 0.01, "ops": 1, "locale": 1, "short": 1, "s": 0.001}[p.Unit]; there {
		custom["axisSoftMax"] = most // where all is zero
	}
	return custom
}

// wide is from how many columns on a legend has room beside the picture.
const wide = 12

func (p Panel) legend() object {
	if p.Width >= wide {
		return object{"displayMode": "table", "placement": "right", "showLegend": true, "calcs": []string{"lastNotNull", "max"}}
	}
	return object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}}
}

// transformations make one table of a panel's queries, with its columns and no others.
func (p Panel) transformations() []any {
	var names []string
	rename, index := object{}, object{}
	var conversions []any
	for i, c := range p.Columns {
		names = append(names, c.Field)
		rename[c.Field], index[c.Field] = c.Title, i
		if c.Number {
			conversions = append(conversions, object{"targetField": c.Field, "destinationType": "number"})
		}
	}
	var all []any
	if len(p.Queries) > 1 {
		all = append(all, object{"id": "merge", "options": object{}})
	}
	all = append(all, object{"id": "filterFieldsByName", "options": object{"include": object{"names": names}}})
	if len(conversions) > 0 {
		all = append(all, object{"id": "convertFieldType", "options": object{"fields": object{}, "conversions": conversions}})
	}
	return append(all, object{"id": "organize", "options": object{"excludeByName": object{}, "renameByName": rename, "indexByName": index}})
}
