package query

import (
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/twin/names"
)

// attribute reads a path and holds it to what can be queried.
func (p *parser) attribute() (path, error) {
	var t token
	if err := p.named(&t); err != nil {
		return nil, err
	}
	return p.resolve(t)
}

// resolve finds the path that an attribute names in the collection that is read: the collection's own
// name before it is left out, and the system's names get their usual spelling.
func (p *parser) resolve(t token) (path, error) {
	if t.reserved != "" {
		return nil, errorAt(p.sql, t.offset, "%s is a keyword", t.reserved).hint("write it as [[%s]] where it is a name, as in tags.[[group]].x", t.reserved)
	}
	full := withoutCollection(t.path, p.from)
	if p.from == Jobs {
		return p.jobAttribute(t, full)
	}
	full = names.Canonical(full)
	if !queryable(full) {
		return nil, errorAt(p.sql, t.offset, "unknown attribute %s", t.text).hint("did you mean %s?", guess(full, t.text))
	}
	return full, nil
}

// withoutCollection leaves out the collection that queries may name before an attribute, as in
// devices.jobs.status.
func withoutCollection(full path, from Collection) path {
	if len(full) < 2 || !strings.EqualFold(full[0], "devices") {
		return full
	}
	switch {
	case len(full) > 2 && from == Modules && strings.EqualFold(full[1], "modules"),
		len(full) > 2 && from == Jobs && strings.EqualFold(full[1], "jobs"):
		return full[2:]
	case from == Devices:
		return full[1:]
	}
	return full
}

// systemNames returns the members of a twin that are the system's own and can be queried whole.
func systemNames() []string {
	return []string{
		"deviceId", "moduleId", "etag", "deviceEtag", "status", "statusReason", "statusUpdateTime", "connectionState", "lastActivityTime",
		"cloudToDeviceMessageCount", "authenticationType", "version", "modelId", "deviceScope", "parentScopes",
	}
}

// queryable reports whether the service can query a path in its usual spelling
// (iot-hub-devguide-query-language; configurations: iot-hub-automatic-device-management).
func queryable(p path) bool {
	switch p[0] {
	case "properties":
		return len(p) == 1 || p[1] == "desired" || p[1] == "reported"
	case "tags", "x509Thumbprint", "capabilities", "configurations":
		return true
	}
	return len(p) == 1 && slices.Contains(systemNames(), p[0])
}

// guess is what an unknown attribute was probably meant to be.
func guess(p path, text string) string {
	switch {
	case p[0] == "reported" || p[0] == "desired":
		return "properties." + text
	case p[0] == "property" || p[0] == "props":
		return "properties" + text[len(p[0]):]
	case p[0] == "tag":
		return "tags" + text[len(p[0]):]
	case p[0] == "properties":
		return "properties.reported" + strings.TrimPrefix(text, "properties")
	case len(p) > 1 && slices.Contains([]string{"tags", "properties"}, p[1]):
		return strings.TrimPrefix(text, p[0]+".") // An alias before it, as in c.tags.plant.
	case len(p) == 1:
		if name := nearest(p[0], systemNames()); name != "" {
			return name
		}
	}
	return "properties.reported." + text + " or tags." + text
}

// nearest is the name of a list that a word was probably meant to be: the same but for case and
// underscores, the beginning of one, or two letters off.
func nearest(word string, names []string) string {
	plain := strings.ReplaceAll(strings.ToLower(word), "_", "")
	if plain == "id" {
		return "deviceId"
	}
	if len(plain) < 4 {
		return ""
	}
	for _, name := range names {
		if lower := strings.ToLower(name); lower == plain || distance(lower, plain) <= 2 {
			return name
		}
	}
	for _, name := range names {
		if len(plain) > 5 && strings.HasPrefix(strings.ToLower(name), plain) {
			return name
		}
	}
	return ""
}

// distance is how many letters must be put in, left out or changed to make one word of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, cost)
		}
	}
	return row[len(b)]
}

// jobNames returns the members of a row of devices.jobs (iot-hub-devguide-query-language). The
// documents' example calls createdDateTimeUtc also createdTimeUtc.
func jobNames() []string {
	return []string{
		"deviceId", "jobId", "jobType", "status", "startTimeUtc", "endTimeUtc", "createdDateTimeUtc", "createdTimeUtc",
		"lastUpdatedDateTimeUtc", "outcome", "error",
	}
}

// jobAttribute finds the member of a job's row; rows have no tags and properties.
func (p *parser) jobAttribute(t token, full path) (path, error) {
	names := jobNames()
	i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, full[0]) })
	if i < 0 || len(full) > 1 && names[i] != "outcome" && names[i] != "error" {
		hint := "there are " + strings.Join(names, ", ")
		if name := nearest(full[0], names); name != "" && len(full) == 1 {
			hint = "did you mean " + name + "?"
		}
		return nil, errorAt(p.sql, t.offset, "jobs have no attribute %s", t.text).hint("%s", hint)
	}
	full = slices.Clone(full)
	full[0] = names[i]
	if len(full) > 1 && strings.EqualFold(full[1], "deviceMethodResponse") {
		full[1] = "deviceMethodResponse"
	}
	return full, nil
}
