// Package audiencetest says which filters match a topic in the plainest way, for tests that hold others to it.
package audiencetest

import "strings"

// Matches is section 4.7 of the specification of MQTT word for word: the levels side by side. The filter is not shared.
func Matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		switch {
		case level == "#":
			return i <= len(t)
		case i >= len(t), level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}
