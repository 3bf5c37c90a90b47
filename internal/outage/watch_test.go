package outage

import (
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
)

// The reason of most connections that were lost is named, with its number where it is not that of all; what was lost before is none of the outage.
func TestMainReason(t *testing.T) {
	count := func(reason string, n uint64) metrics.ErrorCount { return metrics.ErrorCount{Reason: reason, Count: n} }
	before := []metrics.ErrorCount{count("early", 90), count("quota", 3)}
	for name, tt := range map[string]struct {
		after []metrics.ErrorCount
		total int
		want  string
		known int
	}{
		"none is known":         {before, 9, "", 0},
		"one for all":           {append([]metrics.ErrorCount{count("silent", 9)}, before...), 9, "silent", 9},
		"two":                   {[]metrics.ErrorCount{count("early", 90), count("quota", 1203), count("silent", 4)}, 1204, "1,200 of them: quota", 1204},
		"some have no reason":   {[]metrics.ErrorCount{count("early", 90), count("quota", 8)}, 9, "5 of them: quota", 5},
		"more than were of use": {[]metrics.ErrorCount{count("early", 90), count("quota", 8)}, 2, "quota", 5},
	} {
		if why, known := mainReason(before, tt.after, tt.total); why != tt.want || known != tt.known {
			t.Errorf("%s: %q of %d; want %q of %d", name, why, known, tt.want, tt.known)
		}
	}
}
