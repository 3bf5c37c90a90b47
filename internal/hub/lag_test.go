package hub_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
)

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
