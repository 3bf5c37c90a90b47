package hub_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
)

func TestParseQueryLag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text      string
		low, high time.Duration
	}{{"2s", 2 * time.Second, 2 * time.Second}, {"0s", 0, 0}, {"500ms..3s", 500 * time.Millisecond, 3 * time.Second}} {
		draw := func(seed uint64) (all []time.Duration) {
			lag, err := hub.ParseQueryLag(tt.text, seed)
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
	if lag, err := hub.ParseQueryLag("", 1); lag != nil || err != nil {
		t.Errorf("no text: %v", err)
	}
	for _, text := range []string{"soon", "-1s", "3s..1s", "1s..", "..2s", "1s..2s..3s"} {
		if _, err := hub.ParseQueryLag(text, 1); !errors.Is(err, hub.ErrQueryLag) {
			t.Errorf("%q: %v; want ErrQueryLag", text, err)
		}
	}
}

// A twin is current at once where it is read, and later where it is queried.
func TestQueryLag(t *testing.T) {
	t.Parallel()
	const lag = 300 * time.Millisecond
	h, c := open(t, hub.Options{QueryLag: func() time.Duration { return lag }})
	newDevice(t, c, "dev-1")
	b := &bench{T: t, hub: h}
	written := time.Now()
	b.must("PATCH", twinPath, `{"tags":{"plant":"Redmond43"}}`)
	b.equal("the twin", b.must("GET", twinPath, "").member("tags", "plant"), "Redmond43")
	eventually(t, "the query sees the tag", func() bool {
		return strings.Contains(b.must("POST", queryPath, `{"query":"SELECT * FROM devices WHERE tags.plant = 'Redmond43'"}`).body, "dev-1")
	})
	if took := time.Since(written); took < lag {
		t.Errorf("the query saw the tag after %v; it lags by %v", took, lag)
	}
}
