package timestamp

import (
	"encoding/json"
	"testing"
)

func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		`"2021-05-12T08:48:08.7205939Z"`: `"2021-05-12T08:48:08.7205939Z"`, `"2021-05-12T08:48:08Z"`: `"2021-05-12T08:48:08Z"`,
		`"0001-01-01T00:00:00"`: `"0001-01-01T00:00:00Z"`, `"2021-05-12T10:48:08+02:00"`: `"2021-05-12T08:48:08Z"`, `""`: `"0001-01-01T00:00:00Z"`,
	} {
		var got Time
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if b, _ := json.Marshal(got); string(b) != want {
			t.Errorf("%s reads back as %s; want %s", text, b, want)
		}
	}
}
