// Package attribute knows what a query can ask for: the members of a twin and of a job's row
// (iot-hub-devguide-query-language).
package attribute

import (
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/names"
)

// Resolve finds the path that an attribute names in the collection that is read: the collection's own name before it
// is left out, and the system's names get their usual spelling. Where there is no such attribute, which is then
// undefined, problem says so and hint what was probably meant; text is the attribute as it was written.
func Resolve(written tree.Path, text string, from tree.Collection) (full tree.Path, problem, hint string) {
	full = withoutCollection(written, from)
	if from == tree.Jobs {
		return jobAttribute(full, text)
	}
	full = names.Canonical(full)
	if !Queryable(full) {
		return full, "unknown attribute " + text, "did you mean " + guess(full, text) + "?"
	}
	return full, "", ""
}

// withoutCollection leaves out the collection that queries may name before an attribute, whole as in
// devices.jobs.status, or in part as in devices.deviceId and modules.moduleId.
func withoutCollection(full tree.Path, from tree.Collection) tree.Path {
	for part := range strings.SplitSeq(from.String(), ".") {
		if len(full) > 1 && strings.EqualFold(full[0], part) {
			full = full[1:]
		}
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

// Queryable reports whether the service can query a path in its usual spelling
// (iot-hub-devguide-query-language; configurations: iot-hub-automatic-device-management).
func Queryable(p tree.Path) bool {
	switch p[0] {
	case "properties":
		return len(p) == 1 || p[1] == "desired" || p[1] == "reported"
	case "tags", "x509Thumbprint", "capabilities", "configurations":
		return true
	}
	return len(p) == 1 && slices.Contains(systemNames(), p[0])
}

// guess is what an unknown attribute was probably meant to be.
func guess(p tree.Path, text string) string {
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
func jobAttribute(full tree.Path, text string) (found tree.Path, problem, hint string) {
	known := jobNames()
	i := slices.IndexFunc(known, func(name string) bool { return strings.EqualFold(name, full[0]) })
	if i < 0 || len(full) > 1 && known[i] != "outcome" && known[i] != "error" {
		hint := "there are " + strings.Join(known, ", ")
		if name := nearest(full[0], known); name != "" && len(full) == 1 {
			hint = "did you mean " + name + "?"
		}
		return full, "jobs have no attribute " + text, hint
	}
	full = slices.Clone(full)
	full[0] = known[i]
	if len(full) > 1 && strings.EqualFold(full[1], "deviceMethodResponse") {
		full[1] = "deviceMethodResponse"
	}
	return full, "", ""
}
