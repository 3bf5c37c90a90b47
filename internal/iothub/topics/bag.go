package topics

import (
	"fmt"
	"net/url"
	"strings"
)

// Property is one entry of a property bag. System properties have names that begin with "$.".
type Property struct {
	Name     string // decoded
	Value    string // decoded; empty without a value
	HasValue bool   // false writes the name alone: a null value
}

// Bag holds the properties of a message in the order of the topic.
type Bag []Property

// ParseBag decodes a property bag; a plus sign stands for itself. Errors match ErrTopic.
func ParseBag(raw string) (Bag, error) {
	raw = strings.TrimSuffix(strings.TrimPrefix(raw, "?"), "/")
	if raw == "" {
		return nil, nil
	}
	var bag Bag
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, has := strings.Cut(pair, "=")
		n, err := url.PathUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("%w: property name: %w", ErrTopic, err)
		}
		v, err := url.PathUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("%w: value of property %q: %w", ErrTopic, n, err)
		}
		bag = append(bag, Property{n, v, has})
	}
	return bag, nil
}

// Encode writes the bag as the last segment of a topic.
func (bag Bag) Encode() string {
	var b strings.Builder
	for i, p := range bag {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(p.Name))
		if p.HasValue {
			b.WriteByte('=')
			b.WriteString(escape(p.Value))
		}
	}
	return b.String()
}

// escape is percent encoding as encodeURIComponent does it: spaces are %20.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// Get finds a property by name.
func (bag Bag) Get(name string) (string, bool) {
	for _, p := range bag {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Size is the number of bytes of names and values, as metering counts them (iot-hub-devguide-pricing).
func (bag Bag) Size() int {
	n := 0
	for _, p := range bag {
		n += len(p.Name) + len(p.Value)
	}
	return n
}
