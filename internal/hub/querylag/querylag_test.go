package querylag_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/querylag"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text      string
		low, high time.Duration
	}{{"2s", 2 * time.Second, 2 * time.Second}, {"0s", 0, 0}, {"500ms..3s", 500 * time.Millisecond, 3 * time.Second}} {
		draw := func(seed uint64) (all []time.Duration) {
			lag, err := querylag.Parse(tt.text, seed)
			if err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				all = append(all, lag())
			}
			return all
		}
		all := draw(7)
		if slices.Min(all) < tt.low || slices.Max(all) > tt.high {
			t.Errorf("%s gives %v to %v", tt.text, slices.Min(all), slices.Max(all))
		}
		if !slices.Equal(all, draw(7)) {
			t.Errorf("%s: one seed gives two sequences", tt.text)
		}
		if tt.low < tt.high && slices.Equal(all, draw(8)) {
			t.Errorf("%s: two seeds give one sequence", tt.text)
		}
		if spread := tt.high - tt.low; slices.Max(all)-slices.Min(all) < spread*9/10 {
			t.Errorf("%s: a thousand lags spread over %v only", tt.text, slices.Max(all)-slices.Min(all))
		}
	}
	if lag, err := querylag.Parse("", 1); lag != nil || err != nil {
		t.Errorf("no text: %v", err)
	}
	for _, text := range []string{"soon", "-1s", "3s..1s", "1s..", "..2s", "1s..2s..3s"} {
		if _, err := querylag.Parse(text, 1); !errors.Is(err, querylag.ErrMalformed) {
			t.Errorf("%q: %v; want ErrMalformed", text, err)
		}
	}
}
