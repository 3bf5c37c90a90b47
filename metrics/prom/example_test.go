package prom_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// A program that measures with a Recorder of its own shows it to Prometheus.
func ExampleHandler() {
	rec, now := metrics.NewRecorder(metrics.Options{}), time.Now()
	rec.Series(metrics.OpConnect, "robots").Start(now, now).End(now.Add(20*time.Millisecond), metrics.OK)

	scrape := httptest.NewRecorder()
	prom.Handler(rec).ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil)) // in a program: mux.Handle("GET /metrics", prom.Handler(rec))
	for line := range strings.Lines(scrape.Body.String()) {
		if strings.HasPrefix(line, "twinfleet_operations_scheduled_total") {
			fmt.Print(line)
		}
	}
	// Output: twinfleet_operations_scheduled_total{group="robots",operation="connect"} 1
}
