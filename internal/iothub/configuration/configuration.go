// Package configuration is the documents of automatic device management: configurations, what they hold, and what the
// service checks of them before it takes them (iot-hub-automatic-device-management).
package configuration

import (
	"encoding/json"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// Configuration is a configuration as the service shows it, and as who makes one sends it. In a request the times,
// SystemMetrics and ETag are passed over.
type Configuration struct {
	ID              string            `json:"id"`                 // 1 to 128 characters; see Check
	SchemaVersion   *string           `json:"schemaVersion"`      // kept as it was sent; null when it was not
	Labels          map[string]string `json:"labels"`             // for people; null when there are none
	Content         Content           `json:"content"`            // cannot be changed once it is made
	TargetCondition string            `json:"targetCondition"`    // see ParseTarget; empty targets nothing
	Created         timestamp.Time    `json:"createdTimeUtc"`     // breaks ties of Priority: the later one wins
	LastUpdated     timestamp.Time    `json:"lastUpdatedTimeUtc"` // its ticks are the digest in the twins that it wrote
	Priority        int               `json:"priority"`           // the larger wins where contents conflict; from 0, the default
	SystemMetrics   Metrics           `json:"systemMetrics"`      // made by the service
	Metrics         Metrics           `json:"metrics"`            // made by who made the configuration
	ETag            string            `json:"etag"`               // base64 of a counter from 1
}

// Content is what a configuration writes, in one of three forms. It is kept as it was sent.
type Content struct {
	Device  json.RawMessage `json:"deviceContent,omitempty"`  // paths of desired properties of devices, and their values
	Module  json.RawMessage `json:"moduleContent,omitempty"`  // the same of modules
	Modules json.RawMessage `json:"modulesContent,omitempty"` // of the modules of IoT Edge devices, by module id
}

// Metrics are counts of twins: named queries and what they found when they were last run.
type Metrics struct {
	Results map[string]int64  `json:"results"` // empty until they have run
	Queries map[string]string `json:"queries"` // by name
}

// The system's own metrics.
const (
	TargetedCount = "targetedCount" // twins that match the condition
	AppliedCount  = "appliedCount"  // twins into which something of the content was written
)

// MaxMetrics is how many custom metrics a configuration may have (iot-hub-automatic-device-management).
const MaxMetrics = 5

// maxID is the longest id, in characters.
const maxID = 128

// CheckID holds an id against the characters that the service takes: lower-case letters, digits and -+%_*!'.
func CheckID(id string) error {
	if len(id) == 0 || len(id) > maxID {
		return iothub.ErrArgumentInvalid.With("The configuration id must have 1 to %d characters", maxID)
	}
	for _, c := range id {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-', c == '+', c == '%', c == '_', c == '*', c == '!', c == '\'':
		default:
			return iothub.ErrArgumentInvalid.With("The configuration id may hold a-z, 0-9 and -+%%_*!' only, not %q", c)
		}
	}
	return nil
}

// Request reads the body of a PUT and checks all of it but the content, which an update passes over. The error is
// an [*iothub.Error].
func Request(id string, body []byte) (Configuration, error) {
	if err := CheckID(id); err != nil {
		return Configuration{}, err
	}
	var c Configuration
	if err := json.Unmarshal(body, &c); err != nil {
		return Configuration{}, iothub.ErrArgumentInvalid.With("The body is no configuration: %v", err)
	}
	if c.ID != id {
		return Configuration{}, iothub.ErrArgumentInvalid.With("The id in the body is not the one in the path")
	}
	if c.Priority < 0 {
		return Configuration{}, iothub.ErrArgumentInvalid.With("priority must not be negative")
	}
	if len(c.Metrics.Queries) > MaxMetrics {
		return Configuration{}, iothub.ErrArgumentInvalid.With("There may be %d custom metrics at most", MaxMetrics)
	}
	for name, text := range c.Metrics.Queries {
		if _, err := ParseMetric(text); err != nil {
			return Configuration{}, iothub.ErrArgumentInvalid.With("The query of metric %q: %v", name, err)
		}
	}
	if _, err := c.Target(); err != nil {
		return Configuration{}, iothub.ErrArgumentInvalid.With("targetCondition: %v", err)
	}
	return c, nil
}

// SystemQueries are the queries of the system's own metrics, as the service words them.
func (c *Configuration) SystemQueries() map[string]string {
	applied := fmt.Sprintf("configurations.[[%s]].status = '%s'", c.ID, "Applied")
	switch {
	case len(c.Content.Modules) > 0:
		agent := "select deviceId from devices.modules where moduleId = '$edgeAgent' and " + applied
		return map[string]string{
			TargetedCount: "select deviceId from devices where capabilities.iotEdge = true" + c.and(),
			AppliedCount:  agent,
		}
	case len(c.Content.Module) > 0:
		return map[string]string{
			TargetedCount: "select deviceId, moduleId " + c.TargetCondition,
			AppliedCount:  "select deviceId, moduleId from devices.modules where " + applied,
		}
	}
	where := ""
	if cond := c.and(); cond != "" {
		where = " where " + cond[len(" and "):]
	}
	return map[string]string{
		TargetedCount: "select deviceId from devices" + where,
		AppliedCount:  "select deviceId from devices where " + applied,
	}
}

// and is the condition behind another one; empty where all match.
func (c *Configuration) and() string {
	if t := c.TargetCondition; t != "" && t != "*" {
		return " and " + t
	}
	return ""
}
