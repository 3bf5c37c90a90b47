package rig

import (
	"os"
	"path/filepath"
	"testing"
)

// Prometheus is the path of the Prometheus (or of its "promtool") that make setup builds from the module in test/prometheus: Debian's is older
// than the settings that configs/prometheus.yml has. A missing one fails the test.
func Prometheus(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(Root(), "test", "prometheus", "bin", name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%s is not built; make setup builds it", name)
	}
	return path
}
