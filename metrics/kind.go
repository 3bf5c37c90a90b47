package metrics

import "strings"

// KindOf is the group of the series of one kind of messages of a group of devices: sensors/alarms. Messages of a kind without a name are the
// group's own.
func KindOf(group, kind string) string {
	if kind == "" {
		return group
	}
	return group + "/" + kind
}

// InGroup reports whether a series, by its group, belongs to a group: it is the group's own, or that of a kind of its messages. To the empty
// group all series belong. Names of groups have no slash.
func InGroup(series, group string) bool {
	rest, ok := strings.CutPrefix(series, group)
	return group == "" || ok && (rest == "" || rest[0] == '/')
}

// GroupOf is the group of devices that a series belongs to: all but the name of a kind.
func GroupOf(series string) string {
	group, _, _ := strings.Cut(series, "/")
	return group
}
