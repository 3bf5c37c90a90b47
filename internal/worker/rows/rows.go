// Package rows knows what the rows of a query tell of devices, and which devices belong in them.
package rows

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Meaning is what the rows of a query's result tell of devices. The zero value tells nothing.
type Meaning struct {
	Whole   bool   // rows are whole twins
	Device  string // else the member that holds the device id; empty when none does
	Version string // else the member that holds the $version of the reported properties; empty when none does
	// Holds evaluates the query's condition on what is known of a device. It is nil when the condition
	// needs more than that: then results are not checked.
	Holds     func(State) bool
	UsesTags  bool   // the condition reads tags
	Unchecked string // why results are not checked; empty when they are
}

// State is what the audit knows of a device.
type State struct {
	Device       string            // its id
	Group        string            // of the fleet
	Tags         []json.RawMessage // patches, in order; nil for no tags
	Connectivity string            // properties.reported.connectivity.type; empty when it was not reported
}

// The paths that the audit knows of a twin, beside tags.
const (
	pathDevice       = "deviceId"
	pathConnectivity = "properties.reported.connectivity.type"
)

// Of is what the rows of a query tell the audit, and how its condition is evaluated on what the audit knows. knowsTag reports
// whether the worker writes a tag. Of a query that another hub may understand, and we do not, rows tell nothing.
func Of(sql string, knowsTag func(path []string) bool) Meaning {
	q, err := query.Parse(sql)
	if err != nil {
		return Meaning{Unchecked: "it is not in the query language as it is documented"}
	}
	m := Meaning{
		Whole: !q.Raw() && q.From == tree.Devices, Device: q.Column(pathDevice), Version: q.Column("properties", "reported", "$version"),
	}
	switch {
	case !q.Whole():
		m.Unchecked = "it does not list every device that it selects"
		return m
	case !m.Whole && m.Device == "":
		m.Unchecked = "its rows have no deviceId"
		return m
	}
	for _, p := range q.Paths() {
		path := strings.Join(p, ".")
		switch {
		case p[0] == "tags" && knowsTag(p[1:]):
			m.UsesTags = true
		case path == pathDevice, path == pathConnectivity:
		default:
			m.Unchecked = path + " is not known to the fleet"
			return m
		}
	}
	m.Holds = condition(q)
	return m
}

// condition evaluates a query's condition on what the audit knows of a device.
func condition(q *query.Query) func(State) bool {
	return func(s State) bool {
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
