// Package quick makes a scenario of a few values, for a run without a file: one group of devices that report, or send, every so often.
package quick

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// Run is what a run without a file is asked for. The zero value of a field, where it says so, stands for a default.
type Run struct {
	// Hub is target.hub: embedded when empty, mqtt://host of a broker, or a connection string. That is a secret: what is made has
	// ${HubVariable} in its place.
	Hub         string
	HubVariable string        // the environment variable that has a connection string
	CAVariable  string        // the environment variable that names the file with the certificates to trust of such a hub; none when empty
	Devices     int           // of the one group; above 0
	Every       string        // how often each reports, or sends: a time or random gaps, as in a scenario; 30s when empty
	Duration    time.Duration // of the run, of which the devices come in the first quarter, and in half a minute at the most; a minute when 0
	Tags        []string      // path=value of tags of all devices: plant=Redmond43, location.plant=Redmond43
	Queries     []string      // that the service side runs every ten seconds, or ten times in a shorter run, in the query language of IoT Hub
	Thresholds  []string      // "operation: condition", or a condition alone, which is one of what the devices do
}

// Defaults of a Run.
const (
	DefaultEvery    = "30s"
	DefaultDuration = time.Minute
	rarestQuery     = 10 * time.Second
	longestRamp     = 30 * time.Second
	group           = "fleet"
)

// ErrSecret is returned for a connection string that no environment variable has.
var ErrSecret = errors.New("a connection string is a secret, which others see on a command line and in files of settings")

// document is a scenario in the order in which people read one.
type document struct {
	Name       string              `yaml:"name"`
	Target     map[string]string   `yaml:"target"`
	Fleet      fleet               `yaml:"fleet"`
	Stages     []stage             `yaml:"stages"`
	Service    *service            `yaml:"service,omitempty"`
	Thresholds map[string][]string `yaml:"thresholds,omitempty"`
}

type fleet struct {
	Groups []devices `yaml:"groups"`
}

type devices struct {
	Name      string     `yaml:"name"`
	Count     int        `yaml:"count"`
	Reported  *reported  `yaml:"reported,omitempty"`
	Telemetry *telemetry `yaml:"telemetry,omitempty"`
}

type reported struct {
	Connectivity map[string]string `yaml:"connectivity"`
	Every        string            `yaml:"every"`
}

type telemetry struct {
	Every   string            `yaml:"every"`
	Payload map[string]string `yaml:"payload"`
}

type stage struct {
	Name     string `yaml:"name"`
	Duration string `yaml:"duration"`
	Devices  string `yaml:"devices,omitempty"`
}

type service struct {
	Tags    map[string]map[string]any `yaml:"tags,omitempty"`
	Queries []query                   `yaml:"queries,omitempty"`
}

type query struct {
	Name  string `yaml:"name"`
	SQL   string `yaml:"sql"`
	Every string `yaml:"every"`
}

// Text is the scenario, in YAML, that the run stands for. What only a scenario can tell to be wrong, as a query, is left to those who decode it. The
// error says which value cannot be written, and is ErrSecret for a connection string without its variable.
func (r *Run) Text() ([]byte, error) {
	if r.Devices < 1 {
		return nil, errors.New("how many devices?")
	}
	hub := r.Hub
	if hub == "" {
		hub = "embedded"
	}
	at, of := make(map[string]string), target.Target{Hub: hub}
	of.Resolve()
	if of.Kind == target.IoTHub {
		if r.HubVariable == "" {
			return nil, ErrSecret
		}
		hub = "${" + r.HubVariable + "}"
		if r.CAVariable != "" {
			at["ca"] = "${" + r.CAVariable + "}"
		}
	} else {
		hub = escape(hub)
	}
	every, lasts := r.Every, r.Duration
	if every == "" {
		every = DefaultEvery
	}
	if lasts == 0 {
		lasts = DefaultDuration
	}
	at["hub"] = hub
	doc := document{Name: "quick", Target: at}
	all, does := devices{Name: group, Count: r.Devices}, "twin_report"
	if of.Can().Twins {
		all.Reported = &reported{Connectivity: map[string]string{"type": "cellular"}, Every: escape(every)}
	} else {
		all.Telemetry, does = &telemetry{Every: escape(every), Payload: map[string]string{"temperature": "{{ normal 21 3 }}"}}, "telemetry"
	}
	doc.Fleet.Groups = []devices{all}
	ramp := min(longestRamp, (lasts / 4).Round(time.Millisecond))
	doc.Stages = []stage{{"ramp", timing.Text(ramp), "100%"}, {"hold", timing.Text(lasts - ramp), ""}}
	tags, err := tags(r.Tags)
	if err != nil {
		return nil, err
	}
	var side service
	if len(tags) > 0 {
		side.Tags = map[string]map[string]any{group: tags}
	}
	often := min(rarestQuery, max(time.Second, (lasts/10).Round(time.Millisecond)))
	for i, sql := range r.Queries {
		side.Queries = append(side.Queries, query{fmt.Sprintf("query-%d", i+1), escape(sql), timing.Text(often)})
	}
	if side.Tags != nil || side.Queries != nil {
		doc.Service = &side
	}
	for _, text := range r.Thresholds {
		selector, condition := split(text, does)
		if doc.Thresholds == nil {
			doc.Thresholds = make(map[string][]string)
		}
		doc.Thresholds[selector] = append(doc.Thresholds[selector], escape(condition))
	}
	b, err := yaml.Dump(doc)
	if err != nil {
		return nil, fmt.Errorf("writing the scenario: %w", err)
	}
	return b, nil
}

// escape has a text mean itself where a scenario would look for an environment variable.
func escape(text string) string { return strings.ReplaceAll(text, "${", "$${") }

// split takes the operation off a threshold: "connect: p(95) < 1s". A condition without one is about something else.
func split(text, otherwise string) (selector, condition string) {
	if m := regexp.MustCompile(`^\s*([a-z_]+(?:\{[^}]*\})?)\s*:\s*(.+)$`).FindStringSubmatch(text); m != nil {
		return m[1], m[2]
	}
	return otherwise, text
}

// tags are those of path=value, nested.
func tags(all []string) (map[string]any, error) {
	root := make(map[string]any)
	for _, text := range all {
		path, value, ok := strings.Cut(text, "=")
		path = strings.TrimPrefix(strings.TrimSpace(path), "tags.")
		names := strings.Split(path, ".")
		if !ok || slices.Contains(names, "") {
			return nil, fmt.Errorf("%q is no tag; write plant=Redmond43, or location.plant=Redmond43", text)
		}
		at := root
		for i, name := range names {
			last := i == len(names)-1
			if last {
				if _, twice := at[name]; twice {
					return nil, fmt.Errorf("the tag %s is given twice", strings.Join(names[:i+1], "."))
				}
				at[name] = plain(value)
				break
			}
			if at[name] == nil {
				at[name] = make(map[string]any)
			}
			below, ok := at[name].(map[string]any)
			if !ok {
				return nil, fmt.Errorf("the tag %s has a value, and tags below it", strings.Join(names[:i+1], "."))
			}
			at = below
		}
	}
	return root, nil
}

// plain is a value of a tag: a number, true or false where it looks like one, else the text.
func plain(text string) any {
	var v any
	if err := yaml.Load([]byte(text), &v); err == nil {
		switch x := v.(type) {
		case bool:
			return x
		case int, int64:
			if fmt.Sprint(x) == text { // 007 is a text
				return x
			}
		case float64:
			if !math.IsInf(x, 0) && !math.IsNaN(x) {
				return x
			}
		}
	}
	return escape(text)
}
