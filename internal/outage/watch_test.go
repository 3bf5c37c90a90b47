package outage

import "testing"

// The reason of most connections that were lost is named, with its number where it is not that of all; what was lost before is none of the outage.
func TestMainReason(t *testing.T) {
	before := map[string]int{"early": 90, "quota": 3}
	for name, tt := range map[string]struct {
		after map[string]int
		total int
		want  string
		known int
	}{
		"none is known":         {before, 9, "", 0},
		"one for all":           {map[string]int{"silent": 9, "early": 90, "quota": 3}, 9, "silent", 9},
		"two":                   {map[string]int{"early": 90, "quota": 1203, "silent": 4}, 1204, "1,200 of them: quota", 1204},
		"some have no reason":   {map[string]int{"early": 90, "quota": 8}, 9, "5 of them: quota", 5},
		"more than were of use": {map[string]int{"early": 90, "quota": 8}, 2, "quota", 5},
	} {
		if why, known := mainReason(before, tt.after, tt.total); why != tt.want || known != tt.known {
			t.Errorf("%s: %q of %d; want %q of %d", name, why, known, tt.want, tt.known)
		}
	}
}
