// Package timestamp is time as IoT Hub writes it in documents.
package timestamp

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Time is a time as the service writes it: UTC with up to seven fractional digits and Z. The zero Time is
// 0001-01-01T00:00:00Z, which stands for never.
type Time struct{ time.Time }

// Append appends t as the service writes times, without quotes.
func Append(dst []byte, t time.Time) []byte {
	return Of(t).Append(dst)
}

// MarshalJSON writes the time as the service does.
func (t Time) MarshalJSON() ([]byte, error) {
	return append(Append([]byte{'"'}, t.Time), '"'), nil
}

// UnmarshalJSON reads a time with or without fraction and zone; without a zone it is UTC.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	if s == "" {
		*t = Time{}
		return nil
	}
	if !strings.HasSuffix(s, "Z") && !strings.Contains(s[min(10, len(s)):], "+") && strings.Count(s, "-") < 3 {
		s += "Z"
	}
	parsed, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	*t = Time{parsed.UTC()}
	return nil
}
