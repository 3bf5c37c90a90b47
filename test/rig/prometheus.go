package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

// AskPrometheus asks the Prometheus at an address by its API, and decodes the data of its answer.
func AskPrometheus(ctx context.Context, addr, path string, data any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fmt.Errorf("%s: %w", b, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}
