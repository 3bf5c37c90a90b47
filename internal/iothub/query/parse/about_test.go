package parse_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
)

func TestAbout(t *testing.T) {
	version := []string{"properties", "reported", "$version"}
	for _, tt := range []struct {
		sql, paths, device, version string
		whole                       bool
	}{
		{"SELECT * FROM devices", "", "", "", true},
		{"SELECT * FROM devices WHERE tags.a.b = 1 AND (NOT IS_DEFINED(tags.c) OR DeviceId IN ['x']) AND tags.a.b != 2", "tags.a.b tags.c deviceId", "", "", true},
		{"SELECT deviceId, properties.reported.$version AS v FROM devices WHERE STARTSWITH(devices.tags.x, 'y')", "tags.x", "deviceId", "v", true},
		{"SELECT DEVICEID AS id, properties.reported.$version FROM devices WHERE 1 = -tags.n", "tags.n", "id", "$version", true},
		{"SELECT TOP 3 deviceId FROM devices", "", "deviceId", "", false},
		{"SELECT COUNT() AS n, tags.a FROM devices GROUP BY tags.a", "", "", "", false},
		{"SELECT MAX(deviceId) AS id FROM devices", "", "", "", false},
		{"SELECT * FROM devices.modules", "", "", "", false},
	} {
		q, err := parse.Query(tt.sql)
		if err != nil {
			t.Errorf("%s: %v", tt.sql, err)
			continue
		}
		var paths []string
		for _, p := range q.Paths() {
			paths = append(paths, strings.Join(p, "."))
		}
		if got := strings.Join(paths, " "); got != tt.paths {
			t.Errorf("%s reads %q; want %q", tt.sql, got, tt.paths)
		}
		if d, v := q.Column("deviceId"), q.Column(version...); d != tt.device || v != tt.version || q.Whole() != tt.whole {
			t.Errorf("%s: device %q, version %q, whole %v; want %q, %q, %v", tt.sql, d, v, q.Whole(), tt.device, tt.version, tt.whole)
		}
	}
}
