package worker

import (
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// The paths that the audit knows of a twin, beside tags.
const (
	pathDevice       = "deviceId"
	pathConnectivity = "properties.reported.connectivity.type"
)

// RowsOf is what the rows of a query tell the audit, and how its condition is evaluated on what the audit knows. knowsTag reports
// whether the worker itself writes a tag.
func RowsOf(sql string, knowsTag func(path []string) bool) (Rows, error) {
	q, err := query.Parse(sql)
	if err != nil {
		return Rows{}, err
	}
	rows := Rows{
		Whole: !q.Raw() && q.From == tree.Devices, Device: q.Column(pathDevice), Version: q.Column("properties", "reported", "$version"),
	}
	switch {
	case !q.Whole():
		rows.Unchecked = "it does not list every device that it selects"
		return rows, nil
	case !rows.Whole && rows.Device == "":
		rows.Unchecked = "its rows have no deviceId"
		return rows, nil
	}
	for _, p := range q.Paths() {
		path := strings.Join(p, ".")
		switch {
		case p[0] == "tags" && knowsTag(p[1:]):
			rows.UsesTags = true
		case path == pathDevice, path == pathConnectivity:
		default:
			rows.Unchecked = path + " is not known to the fleet"
			return rows, nil
		}
	}
	rows.Holds = condition(q)
	return rows, nil
}

// condition evaluates a query's condition on what the audit knows of a device.
func condition(q *query.Query) func(DeviceState) bool {
	return func(s DeviceState) bool {
		t := twin.New(s.Device)
		for _, patch := range s.Tags {
			if tags, err := jsonparse.Parse(patch); err == nil {
				if next, _, err := t.Patch(tags, jsonvalue.Value{}, time.Time{}); err == nil {
					t = next
				}
			}
		}
		if s.Connectivity != "" {
			kind := jsonvalue.ObjectValue(jsonvalue.Member{Key: "type", Value: jsonvalue.StringValue(s.Connectivity)})
			if next, err := t.Report(jsonvalue.ObjectValue(jsonvalue.Member{Key: "connectivity", Value: kind}), time.Time{}); err == nil {
				t = next
			}
		}
		return q.Matches(t)
	}
}
