package rows

import (
	"encoding/json"
	"testing"
)

// Rows are read in every form that a query may give them.
func TestRows(t *testing.T) {
	for _, tt := range []struct {
		rows    Meaning
		item    string
		id      string
		version int64
	}{
		{Meaning{Whole: true}, `{"deviceId":"dev-0","version":9,"properties":{"reported":{"$version":4}}}`, "dev-0", 4},
		{Meaning{Whole: true}, `{"etag":"x","deviceId":"dev-0","properties":{"reported":{"$version":4}}}`, "dev-0", 4},
		{Meaning{Whole: true}, `{"deviceId":"dev-7","properties":{"reported":{"$version":4}}}`, "dev-7", 0},
		{Meaning{Whole: true}, `{"deviceId":"dev\u002d0","properties":{"reported":{"$version":4}}}`, "dev-0", 4},
		{Meaning{Device: "id", Version: "v"}, `{"id":"dev-0","v":4}`, "dev-0", 4},
		{Meaning{Device: "id"}, `{"id":"dev-0","v":4}`, "dev-0", 0},
		{Meaning{Device: "id", Version: "v"}, `{"n":4}`, "", 0},
		{Meaning{Device: "id"}, `null`, "", 0},
	} {
		watched := func(id string) bool { return id == "dev-0" }
		id, version := tt.rows.Read(json.RawMessage(tt.item), watched)
		if id != tt.id || version != tt.version {
			t.Errorf("%s: %q at version %d; want %q at %d", tt.item, id, version, tt.id, tt.version)
		}
	}
}
